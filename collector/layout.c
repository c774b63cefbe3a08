/* layout.c: one table of layouts and one of shapes.
 *
 * Both are hash tables that only grow. A pattern is trimmed after its last pointer
 * before it is looked up, so that what is the same is found to be the same.
 *
 * L1  equal layouts are one layout, equal shapes one shape; both live for ever.
 * L2  a pattern's last bit is set, and the bits behind it in its last word are clear.
 * L3  a shape without pointers is pld_leaf_shape[] of its class, or a layout's alone.
 * L4  a shape has one central a slice, made under the lock, published with release.
 * Everything is made under the lock and read without. */
#include "collector/layout.h"

#include "arena/meta.h"
#include "base/check.h"
#include "collector/rules.h"
#include "collector/start.h"

#include <errno.h>
#include <polder/collected.h>
#include <string.h>

enum { NBUCKETS = 1024 };

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_LAYOUTS);
static struct pld_shape *shapes[NBUCKETS];      /* lock */
static struct polder_layout *layouts[NBUCKETS]; /* lock */
struct pld_shape *pld_leaf_shape[PLD_NCLASSES + 1];
struct pld_shape *pld_conservative_shape[PLD_NCLASSES + 1];

static uint64_t hash_of(uint64_t seed, const uint64_t *words, size_t n)
{
        uint64_t hash = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
        for (size_t i = 0; i < n; i++)
                hash = (hash ^ words[i]) * UINT64_C(0xbf58476d1ce4e5b9) + (hash >> 29);
        return hash ^ hash >> 32;
}

/* Words up to and including the last pointer. */
static size_t trimmed(const uint64_t *pattern, size_t nwords)
{
        while (nwords > 0 && !pld_bit_get(pattern, nwords - 1))
                nwords--;
        return nwords;
}

static bool same_shape(const struct pld_shape *a, const struct pld_shape *b)
{
        return a->kind == b->kind && a->class == b->class && a->period == b->period &&
               a->nwords == b->nwords &&
               !memcmp(a->pattern, b->pattern, pld_words_for(a->nwords) * sizeof *a->pattern);
}

static struct pld_shape *copy_shape(const struct pld_shape *like)
{
        size_t npattern = pld_words_for(like->nwords);
        struct pld_shape *shape = pld_meta_alloc(sizeof *shape + npattern * sizeof *shape->pattern);
        if (!shape)
                return NULL;
        pld_store_relaxed(&shape->rooted, &pld_central_none);
        shape->kind = like->kind;
        shape->class = like->class;
        shape->period = like->period;
        shape->nwords = like->nwords;
        shape->pattern = (uint64_t *)(shape + 1);
        if (npattern)
                memcpy(shape->pattern, like->pattern, npattern * sizeof *shape->pattern);
        bool simple = like->kind == PLD_SHAPE_PRECISE && !like->period && npattern == 1;
        shape->form = simple ? pld_form_new(like->class, like->pattern[0])
                             : pld_form_for(like->class, (enum pld_form_kind)like->kind);
        return shape;
}

static struct pld_shape *intern_shape_locked(const struct pld_shape *like)
{
        uint64_t seed = like->kind + 4 * (like->class + 128 * like->period);
        struct pld_shape **bucket =
                &shapes[hash_of(seed, like->pattern, pld_words_for(like->nwords)) % NBUCKETS];
        for (struct pld_shape *shape = *bucket; shape; shape = shape->next)
                if (same_shape(shape, like))
                        return shape;
        struct pld_shape *shape = copy_shape(like);
        if (shape) {
                shape->next = *bucket;
                *bucket = shape;
        }
        return shape;
}

static struct pld_shape *shape_locked(unsigned class, const uint64_t *pattern, size_t nwords,
                                      size_t period)
{
        if (nwords == 0)
                return pld_leaf_shape[class];
        struct pld_shape like = { .kind = PLD_SHAPE_PRECISE,
                                  .class = class,
                                  .period = period,
                                  .nwords = nwords,
                                  .pattern = (uint64_t *)(uintptr_t)pattern };
        return intern_shape_locked(&like);
}

/* A clean copy of the bits below nwords, so that equal patterns compare equal. */
static void clean_pattern(uint64_t *to, const uint64_t *from, size_t nwords)
{
        size_t n = pld_words_for(nwords);
        memcpy(to, from, n * sizeof *to);
        if (nwords % 64)
                to[n - 1] &= pld_mask(0, (unsigned)(nwords % 64));
}

static struct polder_layout *intern_layout(size_t nbytes, const uint64_t *pattern, size_t nwords)
{
        struct polder_layout *layout;
        pld_lock(&lock);
        struct pld_shape *shape = shape_locked(pld_class_for(nbytes), pattern, nwords, 0);
        if (!shape) {
                pld_unlock(&lock);
                return NULL;
        }
        struct polder_layout **bucket = &layouts[hash_of(nbytes, (uint64_t *)&shape, 1) % NBUCKETS];
        for (layout = *bucket; layout; layout = layout->next)
                if (layout->nbytes == nbytes && layout->shape == shape)
                        break;
        if (!layout && (layout = pld_meta_alloc(sizeof *layout))) {
                layout->nbytes = nbytes;
                layout->shape = shape;
                layout->next = *bucket;
                *bucket = layout;
        }
        pld_unlock(&lock);
        return layout;
}

const struct polder_layout *polder_layout(size_t nbytes, const uint64_t *pointer_bits)
{
        uint64_t few[8];
        uint64_t *pattern = few;
        if (nbytes == 0) {
                errno = EINVAL;
                return NULL;
        }
        if (pld_start()) {
                errno = ENOMEM;
                return NULL;
        }
        size_t nwords = pointer_bits ? trimmed(pointer_bits, nbytes / 8) : 0;
        if (pld_words_for(nwords) > PLD_COUNT_OF(few))
                pattern = pld_meta_alloc(pld_words_for(nwords) * sizeof *pattern);
        if (pattern && nwords)
                clean_pattern(pattern, pointer_bits, nwords);
        struct polder_layout *layout = pattern ? intern_layout(nbytes, pattern, nwords) : NULL;
        if (!layout)
                errno = ENOMEM;
        return layout;
}

const struct polder_layout *polder_layout_of(size_t nbytes, const size_t *offsets, size_t count)
{
        size_t npattern = pld_words_for(nbytes / 8) ? pld_words_for(nbytes / 8) : 1;
        uint64_t few[64] = { 0 };
        uint64_t *pattern = few;
        if (pld_start()) {
                errno = ENOMEM;
                return NULL;
        }
        if (npattern > PLD_COUNT_OF(few) &&
            !(pattern = pld_meta_alloc(npattern * sizeof *pattern))) {
                errno = ENOMEM;
                return NULL;
        }
        for (size_t i = 0; i < count; i++) {
                if (offsets[i] % 8 || offsets[i] >= nbytes || nbytes - offsets[i] < 8) {
                        errno = EINVAL;
                        return NULL;
                }
                pld_bit_set(pattern, offsets[i] / 8);
        }
        return polder_layout(nbytes, pattern);
}

struct pld_shape *pld_layout_array_shape(const struct polder_layout *element, unsigned class)
{
        struct polder_layout *layout = (struct polder_layout *)(uintptr_t)element;
        struct pld_shape *shape = pld_load_acquire(&layout->array[class]);
        if (shape)
                return shape;
        const struct pld_shape *one = layout->shape;
        pld_lock(&lock);
        shape = shape_locked(class, one->pattern, one->nwords, layout->nbytes / 8);
        pld_unlock(&lock);
        if (shape)
                pld_store_release(&layout->array[class], shape);
        return shape;
}

/* Is it the slice that every thread allocates from, whatever happens, with nothing to be
 * done about it? */
static bool is_rooted(unsigned slice)
{
        return !pld_machine.roams && !pld_rules_shading && slice == pld_machine_here();
}

struct pld_central *pld_shape_central_slow(struct pld_shape *shape, unsigned slice)
{
        pld_lock(&lock);
        struct pld_central *central = pld_load_relaxed(&shape->central[slice]);
        if (!central) {
                central = pld_central_new(slice, shape->class, shape);
                if (central) {
                        central->form = shape->form;
                        pld_store_release(&shape->central[slice], central);
                        if (shape->class < PLD_NCLASSES && is_rooted(slice))
                                pld_store_release(&shape->rooted, central);
                }
        }
        pld_unlock(&lock);
        return central;
}

struct polder_layout *pld_layout_alone(size_t nbytes)
{
        struct pld_shape like = { .kind = PLD_SHAPE_LEAF, .class = pld_class_for(nbytes) };
        struct polder_layout *layout = pld_meta_alloc(sizeof *layout);
        if (!layout || !(layout->shape = copy_shape(&like)))
                return NULL;
        layout->nbytes = nbytes;
        return layout;
}

int pld_layout_start(void)
{
        for (unsigned class = 0; class <= PLD_NCLASSES; class++) {
                struct pld_shape like = { .kind = PLD_SHAPE_LEAF, .class = class };
                pld_leaf_shape[class] = copy_shape(&like);
                like.kind = PLD_SHAPE_CONSERVATIVE;
                pld_conservative_shape[class] = copy_shape(&like);
                if (!pld_leaf_shape[class] || !pld_conservative_shape[class])
                        return -ENOMEM;
        }
        return 0;
}

void pld_layout_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_layout_fork_done(void)
{
        pld_lock_cede(&lock);
}
