/* tie.c: values that live as long as two objects do.
 *
 * A tie (owner, key, value) keeps its value while owner and key are both marked. Whichever
 * of the two is marked last triggers that: marking an object of a *tied* span also queues it
 * with a tag, and who takes that item from the queue looks at the ties of which the object
 * is the key, and at those of which it is the owner, and shades the values of those whose
 * other end is marked. Nothing waits anywhere, no pass over all ties is repeated, and an item
 * in the queue is work like any other, so the end of marking is what it was; a chain of
 * ephemerons of which each one's value is the next one's key costs one step a link.
 * (Ephemerons: Hayes, OOPSLA 1997.) A young cycle, which finds old keys and owners marked
 * and so would not queue them, looks at all ties once when tracing begins.
 *
 * The ties of a key hang on its span: a directory of leaves, each with the chains of 64
 * objects. Those of an owner are a list. Who sweeps a key's span cuts the ties of dead keys;
 * who sweeps an owner's says that it is dead, and its ties go when their keys' spans are
 * swept next.
 *
 * T1  ties are triggered while tracing only, which begins after all threads were scanned: so
 *     what threads did that had not yet been armed is seen.
 * T2  who makes a tie first sets `tied` of both spans, then looks at the phase (both sides
 *     fence, the collector when it asks for the first handshake). If a cycle is under way
 *     the value is shaded by who makes the tie. If not, every mark of the next cycle comes
 *     after the flag, and queues the item.
 * T3  a value that is overwritten or removed while a cycle is under way is shaded, and so is one
 *     that is looked up (without, the model in tests/model loses an object).
 * T4  an end is marked before its item is queued; who takes the item fences before it looks at
 *     the other end. So of two who take the items of both ends, one sees both marks.
 * T5  ties, owners, leaves and directories that are cut go to a limbo until the next flip.
 *     Then nobody looks at them any more: mutators do so inside Polder, markers with a
 *     credit. Only settling takes something out of a chain; so all others read
 *     without a lock.
 * T6  while a cycle marks, all is swept: every tie's key is an object, and so is its owner
 *     unless it is `dead`.
 * T7  a key or owner born black needs no item: who made the tie shaded its value (T2). */
#include "collector/tie.h"

#include "arena/meta.h"
#include "base/check.h"
#include "base/lock.h"
#include "collector/cycle.h"
#include "collector/safepoint.h"
#include "collector/thread.h"

#include <errno.h>
#include <string.h>

enum {
        LEAF_CHAINS = 64,
        DIRECTORY_KINDS = 10, /* of 1, 2, 4, … leaves */
        PIECE = 256,          /* ties that are looked at in one go */
        SLAB_BYTES = 4096
};

/* The first word of an owner object. */
struct owner_object {
        struct pld_owner *_Atomic owner;
        uintptr_t unused;
};

struct leaf {
        struct pld_tie *_Atomic chain[LEAF_CHAINS];
};

struct directory {
        struct leaf *_Atomic leaf[1]; /* as many as the span's bitmap has words */
};

/* What all of this is made of: blocks with a link in front, which readers don't look at. */
struct block {
        struct block *next;
};

enum block_kind { TIE, OWNER, LEAF, DIRECTORY, NKINDS = DIRECTORY + DIRECTORY_KINDS };

struct store {
        struct block *spare;               /* lock */
        struct block *limbo, **limbo_last; /* lock: T5 */
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_RECORDS);
static struct store stores[NKINDS];  /* lock */
static struct polder_layout *owners; /* const after start: with a shape of its own */
_Atomic bool pld_ties_exist;

/* ---- Blocks -------------------------------------------------------------------------------- */

static size_t bytes_of(unsigned kind)
{
        switch (kind) {
        case TIE:
                return sizeof(struct block) + sizeof(struct pld_tie);
        case OWNER:
                return sizeof(struct block) + sizeof(struct pld_owner);
        case LEAF:
                return sizeof(struct block) + sizeof(struct leaf);
        default:
                return sizeof(struct block) + (sizeof(void *) << (kind - DIRECTORY));
        }
}

static bool carve_locked(unsigned kind)
{
        size_t nbytes = bytes_of(kind);
        size_t n = nbytes < SLAB_BYTES / 8 ? SLAB_BYTES / nbytes : 1;
        char *slab = pld_meta_alloc(n * nbytes);
        for (size_t i = 0; slab && i < n; i++) {
                struct block *block = (struct block *)(slab + i * nbytes);
                block->next = stores[kind].spare;
                stores[kind].spare = block;
        }
        return slab != NULL;
}

/* Zeroed; NULL: no memory. */
static void *block_new_locked(unsigned kind)
{
        struct store *store = &stores[kind];
        if (!store->spare && !carve_locked(kind))
                return NULL;
        struct block *block = store->spare;
        store->spare = block->next;
        return memset(block + 1, 0, bytes_of(kind) - sizeof *block);
}

static void block_free_locked(unsigned kind, void *at)
{
        struct store *store = &stores[kind];
        struct block *block = (struct block *)at - 1;
        if (!store->limbo)
                store->limbo_last = &block->next;
        block->next = store->limbo;
        store->limbo = block;
}

void pld_ties_flip_locked(void)
{
        if (!pld_load_relaxed(&pld_ties_exist))
                return;
        pld_lock(&lock);
        for (unsigned kind = 0; kind < NKINDS; kind++) {
                struct store *store = &stores[kind];
                if (!store->limbo)
                        continue;
                *store->limbo_last = store->spare;
                store->spare = store->limbo;
                store->limbo = NULL;
        }
        pld_unlock(&lock);
}

/* ---- Finding ------------------------------------------------------------------------------- */

static unsigned directory_kind(const struct pld_span *span)
{
        unsigned log = span->nwords > 1 ? 64 - (unsigned)__builtin_clzl(span->nwords - 1UL) : 0;
        PLD_CHECK(log < DIRECTORY_KINDS);
        return DIRECTORY + log;
}

/* The chain of object number i; NULL: there is none. */
static struct pld_tie *_Atomic *chain_of(struct pld_span *span, size_t i)
{
        struct directory *directory = pld_load_acquire(&span->collected.ties);
        struct leaf *leaf = directory ? pld_load_acquire(&directory->leaf[i / LEAF_CHAINS]) : NULL;
        return leaf ? &leaf->chain[i % LEAF_CHAINS] : NULL;
}

static struct pld_tie *first_of(struct pld_span *span, size_t i)
{
        struct pld_tie *_Atomic *chain = chain_of(span, i);
        return chain ? pld_load_acquire(chain) : NULL;
}

static struct pld_tie *find(const struct pld_owner *owner, struct pld_found key)
{
        struct pld_tie *tie = first_of(key.span, key.index);
        while (tie && tie->owner != owner)
                tie = pld_load_acquire(&tie->next);
        return tie;
}

static bool is_marked(uintptr_t object)
{
        struct pld_span *span = pld_span_of(object);
        return pld_span_is_marked(span, pld_span_index(span, object));
}

static bool is_owner_span(const struct pld_span *span)
{
        return span->shape == owners->shape;
}

struct pld_owner *pld_owner_of(const void *object)
{
        const struct owner_object *at = object;
        return at ? pld_load_acquire(&((struct owner_object *)(uintptr_t)at)->owner) : NULL;
}

bool pld_is_owner(struct pld_found found)
{
        return is_owner_span(found.span);
}

/* ---- Making ties --------------------------------------------------------------------------- */

static struct pld_tie *_Atomic *make_chain_locked(struct pld_span *span, size_t i)
{
        struct directory *directory = pld_load_relaxed(&span->collected.ties);
        if (!directory) {
                directory = block_new_locked(directory_kind(span));
                if (!directory)
                        return NULL;
                pld_store_release(&span->collected.ties, directory);
        }
        struct leaf *leaf = pld_load_relaxed(&directory->leaf[i / LEAF_CHAINS]);
        if (!leaf) {
                leaf = block_new_locked(LEAF);
                if (!leaf)
                        return NULL;
                pld_store_release(&directory->leaf[i / LEAF_CHAINS], leaf);
        }
        return &leaf->chain[i % LEAF_CHAINS];
}

static void raise_flags(struct pld_span *span, uintptr_t owner)
{
        pld_store_relaxed(&pld_ties_exist, true);
        pld_store_relaxed(&span->collected.tied, true);
        pld_store_relaxed(&pld_span_of(owner)->collected.tied, true);
}

static struct pld_tie *tie_new_locked(struct pld_owner *owner, struct pld_found key)
{
        struct pld_tie *_Atomic *chain = make_chain_locked(key.span, key.index);
        struct pld_tie *tie = chain ? block_new_locked(TIE) : NULL;
        if (!tie)
                return NULL;
        tie->key = pld_span_object(key.span, key.index);
        tie->owner = owner;
        struct pld_tie *next = pld_load_relaxed(chain), *owned = pld_load_relaxed(&owner->first);
        pld_store_relaxed(&tie->next, next);
        pld_store_relaxed(&tie->next_owned, owned);
        tie->place_owned = &owner->first;
        if (owned)
                owned->place_owned = &tie->next_owned;
        owner->nties++;
        pld_store_release(chain, tie); /* pairs with the readers' acquires */
        pld_store_release(&owner->first, tie);
        return tie;
}

static void write_locked(struct pld_tie *tie, uintptr_t value)
{
        struct pld_owner *owner = tie->owner;
        uintptr_t old = pld_load_relaxed(&tie->value);
        pld_store_release(&tie->value, value);
        size_t count = pld_load_relaxed(&owner->count);
        if (!old && value)
                pld_store_relaxed(&owner->count, count + 1);
        else if (old && !value)
                pld_store_relaxed(&owner->count, count - 1);
}

int pld_tie_change(struct pld_thread *self, struct pld_owner *owner, struct pld_found key,
                   enum pld_tie_put how, uintptr_t *value)
{
        int error = 0;
        pld_lock(&lock);
        struct pld_tie *tie = find(owner, key);
        uintptr_t old = tie ? pld_load_relaxed(&tie->value) : 0;
        uintptr_t new = how == PLD_TIE_REMOVE ? 0 : *value;
        if (!tie && new) {
                tie = tie_new_locked(owner, key);
                error = tie ? 0 : -ENOMEM;
        }
        if (tie && how == PLD_TIE_ADD && old)
                new = old;
        if (tie)
                write_locked(tie, new);
        raise_flags(key.span, owner->object);
        pld_fence_seq_cst(); /* T2 */
        if (pld_load_relaxed(&pld_phase) != PLD_PHASE_IDLE) {
                pld_shade_word(&self->marker, old); /* T3 */
                pld_shade_word(&self->marker, new);
        }
        if (!error && how != PLD_TIE_SET)
                *value = how == PLD_TIE_ADD ? new : old;
        pld_unlock(&lock);
        return error;
}

static uintptr_t read_value(struct pld_thread *self, struct pld_tie *tie)
{
        uintptr_t value = tie ? pld_load_acquire(&tie->value) : 0;
        if (value && (self->tls->shading & (PLD_SHADE_OLD | PLD_SHADE_NEW)))
                pld_shade_word(&self->marker, value);
        return value;
}

uintptr_t pld_tie_read(struct pld_thread *self, struct pld_owner *owner, struct pld_found key)
{
        return read_value(self, find(owner, key));
}

uintptr_t pld_tie_read_only_one(struct pld_thread *self, struct pld_owner *owner,
                                struct pld_found key)
{
        struct pld_tie *tie = pld_load_acquire(&owner->first);
        bool same = tie && tie->key == pld_span_object(key.span, key.index);
        return read_value(self, same ? tie : NULL);
}

void *pld_owner_new(void)
{
        pld_lock(&lock);
        struct pld_owner *owner = block_new_locked(OWNER);
        pld_unlock(&lock);
        struct owner_object *object = owner ? polder_new(owners) : NULL;
        if (!object) {
                errno = ENOMEM;
                if (!owner)
                        return NULL;
                pld_lock(&lock);
                block_free_locked(OWNER, owner);
                pld_unlock(&lock);
                return NULL;
        }
        pld_enter();
        owner->object = (uintptr_t)object;
        pld_store_relaxed(&pld_span_of((uintptr_t)object)->collected.tied, true);
        pld_store_release(&object->owner, owner);
        pld_leave();
        return object;
}

/* ---- Tracing ------------------------------------------------------------------------------- */

static void trigger(struct pld_marker *marker, struct pld_tie *tie)
{
        uintptr_t value = pld_load_acquire(&tie->value);
        if (value && !pld_load_relaxed(&tie->owner->dead) /* T6 */ &&
            is_marked(tie->owner->object) && is_marked(tie->key))
                pld_shade_word(marker, value);
}

/* A piece of a list; what is left of it is an item for anyone. */
static void trace_list(struct pld_marker *marker, struct pld_tie *tie, unsigned tag)
{
        unsigned n = 0;
        for (; tie && n < PIECE; n++) {
                trigger(marker, tie);
                tie = pld_load_acquire(tag == PLD_GREY_OWNED ? &tie->next_owned : &tie->next);
        }
        marker->scanned_bytes += n * sizeof *tie;
        if (tie)
                pld_marker_push(marker, (uintptr_t)tie | tag);
}

static void trace_object(struct pld_marker *marker, struct pld_span *span, size_t i)
{
        pld_fence_seq_cst(); /* T4 */
        trace_list(marker, first_of(span, i), PLD_GREY_KEYED);
        if (!is_owner_span(span))
                return;
        struct pld_owner *owner = pld_owner_of((void *)pld_span_object(span, i));
        if (owner)
                trace_list(marker, pld_load_acquire(&owner->first), PLD_GREY_OWNED);
}

void pld_ties_trace(struct pld_marker *marker, uintptr_t item)
{
        unsigned tag = item & PLD_GREY_TAGS;
        uintptr_t at = item & PLD_GREY_ADDRESS;
        if (tag != PLD_GREY_TIED) {
                trace_list(marker, (struct pld_tie *)at, tag);
                return;
        }
        struct pld_span *span = pld_span_of(at);
        trace_object(marker, span, pld_span_index(span, at));
}

static void shade_marked_of(struct pld_span *span, void *marker)
{
        if (!pld_span_is_tied(span))
                return;
        for (size_t i = 0; i < span->count; i++)
                if (pld_span_is_marked(span, i) && pld_span_has_object(span, i))
                        trace_object(marker, span, i);
}

void pld_ties_shade_marked(struct pld_marker *marker)
{
        if (pld_load_relaxed(&pld_ties_exist))
                pld_collected_each(shade_marked_of, marker);
}

/* ---- Settling ------------------------------------------------------------------------------ */

static void owner_free_if_unused_locked(struct pld_owner *owner)
{
        if (pld_load_relaxed(&owner->dead) && owner->nties == 0)
                block_free_locked(OWNER, owner);
}

static void cut_locked(struct pld_tie *tie)
{
        struct pld_owner *owner = tie->owner;
        struct pld_tie *next = pld_load_relaxed(&tie->next_owned);
        pld_store_release(tie->place_owned, next);
        if (next)
                next->place_owned = tie->place_owned;
        if (pld_load_relaxed(&tie->value))
                pld_store_relaxed(&owner->count, pld_load_relaxed(&owner->count) - 1);
        owner->nties--;
        owner_free_if_unused_locked(owner);
        block_free_locked(TIE, tie);
}

/* Of one object; true when some are left. */
static bool cut_chain_locked(struct pld_tie *_Atomic *chain, bool lives)
{
        struct pld_tie *_Atomic *at = chain;
        for (struct pld_tie *tie = pld_load_relaxed(chain), *next; tie; tie = next) {
                next = pld_load_relaxed(&tie->next);
                if (lives && pld_load_relaxed(&tie->value) &&
                    !pld_load_relaxed(&tie->owner->dead)) {
                        at = &tie->next;
                        continue;
                }
                pld_store_release(at, next);
                cut_locked(tie);
        }
        return pld_load_relaxed(chain) != NULL;
}

static bool cut_leaf_locked(struct pld_span *span, struct leaf *leaf, size_t first)
{
        bool any = false;
        for (size_t i = 0; i < LEAF_CHAINS; i++)
                if (pld_load_relaxed(&leaf->chain[i]))
                        any |= cut_chain_locked(&leaf->chain[i],
                                                pld_span_is_marked(span, first + i));
        return any;
}

/* True when some are left. */
static bool cut_keys_locked(struct pld_span *span)
{
        bool any = false;
        struct directory *directory = pld_load_relaxed(&span->collected.ties);
        for (size_t i = 0; directory && i < span->nwords; i++) {
                struct leaf *leaf = pld_load_relaxed(&directory->leaf[i]);
                if (!leaf)
                        continue;
                if (cut_leaf_locked(span, leaf, i * LEAF_CHAINS)) {
                        any = true;
                        continue;
                }
                pld_store_relaxed(&directory->leaf[i], NULL);
                block_free_locked(LEAF, leaf);
        }
        if (directory && !any) {
                pld_store_relaxed(&span->collected.ties, NULL);
                block_free_locked(directory_kind(span), directory);
        }
        return any;
}

static void bury_owners_locked(struct pld_span *span)
{
        for (size_t i = 0; i < span->nwords; i++) {
                uint64_t dead = pld_load_relaxed(&pld_span_allocated(span)[i]) &
                                ~pld_marks_read(&pld_span_marks(span)[i]);
                for (; dead; dead &= dead - 1) {
                        uintptr_t object = pld_span_object(span, i * 64 + pld_lowest_bit(dead));
                        struct pld_owner *owner = pld_owner_of((void *)object);
                        if (!owner)
                                continue;
                        pld_store_relaxed(&owner->dead, true);
                        owner_free_if_unused_locked(owner);
                }
        }
}

void pld_ties_settle(struct pld_span *span)
{
        pld_lock(&lock);
        if (is_owner_span(span))
                bury_owners_locked(span);
        if (!cut_keys_locked(span) && !is_owner_span(span))
                pld_store_relaxed(&span->collected.tied, false);
        pld_unlock(&lock);
}

/* ---- For verification ---------------------------------------------------------------------- */

void pld_ties_each(uintptr_t object, pld_tie_visit visit, void *arg)
{
        struct pld_span *span = pld_span_of(object);
        if (!pld_span_is_tied(span))
                return;
        size_t i = pld_span_index(span, object);
        for (struct pld_tie *tie = first_of(span, i); tie; tie = pld_load_acquire(&tie->next))
                if (!pld_load_relaxed(&tie->owner->dead))
                        visit(tie, arg);
        struct pld_owner *owner = is_owner_span(span) ? pld_owner_of((void *)object) : NULL;
        struct pld_tie *tie = owner ? pld_load_acquire(&owner->first) : NULL;
        for (; tie; tie = pld_load_acquire(&tie->next_owned))
                visit(tie, arg);
}

/* ---- Start and fork() ---------------------------------------------------------------------- */

int pld_ties_start(void)
{
        owners = pld_layout_alone(sizeof(struct owner_object));
        return owners ? 0 : -ENOMEM;
}

void pld_ties_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_ties_fork_done(void)
{
        pld_lock_cede(&lock);
}
