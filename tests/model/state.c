/* state.c: the first state, and the canonical packed form of any state.
 *
 * Cells have no order that the protocol knows, nor have threads, nor the slots of one stack; so
 * cells are renamed in the order in which a walk from the stacks, the root and the worker's hand
 * meets them, and the rest in the order of what they hold. Among the orders of threads that look
 * alike the smallest key wins. Ties that this leaves are harmless: a state is then stored twice.
 *
 * K1  a key determines its state up to renaming: all fields but `fault` are packed.
 * K2  a key fits 128 bits; put() checks it. */
#include "tests/model/state.h"

#include <assert.h>
#include <string.h>

struct naming {
        uint8_t name[MAX_CELLS + 1]; /* 0: not met yet */
        uint8_t met[MAX_CELLS + 1];  /* met[n - 1] has the name n */
        int count;
};

struct packer {
        struct key key;
        unsigned nbits;
};

void state_init(const struct bounds *b, struct state *out)
{
        memset(out, 0, sizeof *out);
        for (int c = 1; c <= b->cells; c++)
                for (int f = 0; f < b->fields; f++)
                        out->cell[c].field[f] = POISON;
}

static void put(struct packer *p, uint64_t value, unsigned width)
{
        unsigned word = p->nbits / 64, shift = p->nbits % 64;

        assert(p->nbits + width <= 128 && value < UINT64_C(1) << width); /* K2 */
        p->key.word[word] |= value << shift;
        if (shift + width > 64)
                p->key.word[1] = value >> (64 - shift);
        p->nbits += width;
}

static void meet(struct naming *n, int ref)
{
        if (!ref || ref == POISON || n->name[ref])
                return;
        n->met[n->count++] = (uint8_t)ref;
        n->name[ref] = (uint8_t)n->count;
}

static void meet_fields(const struct bounds *b, const struct state *s, struct naming *n, int from)
{
        for (int i = from; i < n->count; i++)
                for (int f = 0; f < b->fields; f++)
                        meet(n, s->cell[n->met[i]].field[f]);
}

static unsigned renamed(const struct naming *n, int ref)
{
        return ref == POISON ? POISON : n->name[ref];
}

/* A set of threads, as seen when the thread order[i] is called i. */
static unsigned reordered_set(const struct bounds *b, const int *place, unsigned set)
{
        unsigned seen = 0;

        for (int t = 0; t < b->threads; t++)
                seen |= (set >> t & 1) << place[t];
        return seen;
}

/* A colour or a run, likewise. */
static unsigned reordered(const int *place, int base, int value)
{
        return (unsigned)(value < base ? value : base + place[value - base]);
}

static unsigned cell_bits(const struct bounds *b)
{
        unsigned of_births = b->births ? 2 + (unsigned)b->fields : 0;
        unsigned of_words = b->words ? (unsigned)b->threads : 0;

        return 8 + 5 * (unsigned)b->fields + (b->ties ? 2 : 0) + of_births + of_words;
}

static unsigned cell_weight(const struct bounds *b, const struct state *s, const struct naming *n,
                            const int *place, int ref)
{
        const struct cell *c = &s->cell[ref];
        unsigned weight = c->allocated | c->unswept * 2u | c->hidden * 4u;

        if (b->words)
                weight = weight << b->threads | reordered_set(b, place, c->words);
        if (b->ties)
                weight = weight << 2 | c->tied * 2u | c->item;
        if (b->births)
                weight = weight << (2 + b->fields) | c->later << 2 | c->wanted * 2u | c->born;
        weight = weight << 3 | reordered(place, BUFFERED, c->colour);
        weight = weight << 2 | reordered(place, 1, c->run);
        weight = weight << b->fields | c->noted;
        weight = weight << b->fields | c->filtered;
        for (int f = 0; f < b->fields; f++)
                weight = weight << 3 | renamed(n, c->field[f]);
        return weight;
}

/* Names what no root reaches: the lightest first, then what it points to. */
static void meet_rest(const struct bounds *b, const struct state *s, struct naming *n,
                      const int *place)
{
        while (n->count < b->cells) {
                int best = 0;
                unsigned best_weight = 0;

                for (int c = 1; c <= b->cells; c++) {
                        if (n->name[c])
                                continue;
                        unsigned weight = cell_weight(b, s, n, place, c);
                        if (!best || weight < best_weight) {
                                best = c;
                                best_weight = weight;
                        }
                }
                meet(n, best);
                meet_fields(b, s, n, n->count - 1);
        }
}

static void meet_all(const struct bounds *b, const struct state *s, struct naming *n,
                     const int *order, const int *place)
{
        for (int i = 0; i < b->threads; i++) {
                const struct thread *t = &s->thread[order[i]];

                for (int j = 0; j < b->slots; j++)
                        meet(n, t->slot[j]);
                meet(n, t->target);
                meet(n, t->value);
                meet(n, t->old);
        }
        meet(n, s->root);
        meet(n, s->hand);
        for (int i = 0; i < b->ties; i++) {
                meet(n, s->tie[i].owner);
                meet(n, s->tie[i].key);
                meet(n, s->tie[i].value);
        }
        meet_fields(b, s, n, 0);
        meet_rest(b, s, n, place);
}

enum { SHARED_BITS = 9, THREAD_BITS = 21, TIE_BITS = 11 };

/* What threads share. */
static unsigned shared_weight(const struct state *s, const struct naming *n)
{
        unsigned weight = renamed(n, s->root);

        weight = weight << 3 | renamed(n, s->hand);
        weight = weight << 1 | s->root_scanned;
        return weight << 2 | s->kind;
}

/* A thread's, once cells have names. */
static unsigned whole_weight(const struct bounds *b, const struct thread *t,
                             const struct naming *n)
{
        unsigned weight = renamed(n, t->newest);

        weight = weight << 4 | t->armed | t->scanned * 2u | t->settled * 4u | t->flushed * 8u;
        weight = weight << 4 | t->op;
        weight = weight << 3 | renamed(n, t->target);
        weight = weight << 1 | t->field;
        weight = weight << 3 | renamed(n, t->value);
        weight = weight << 3 | renamed(n, t->old);
        for (int j = 0; j < b->slots; j++)
                weight = weight << 3 | renamed(n, t->slot[j]);
        return weight;
}

static unsigned tie_weight(const struct state *s, const struct naming *n)
{
        unsigned weight = renamed(n, s->tie[0].owner);

        weight = weight << 3 | renamed(n, s->tie[0].key);
        weight = weight << 3 | renamed(n, s->tie[0].value);
        weight = weight << 1 | s->phase;
        return weight << 1 | s->looked;
}

static unsigned thread_bits(const struct bounds *b)
{
        return THREAD_BITS + 3 * (unsigned)b->slots;
}

static struct key pack_ordered(const struct bounds *b, const struct state *s, const int *order)
{
        struct packer p = { { { 0, 0 } }, 0 };
        struct naming n = { { 0 }, { 0 }, 0 };
        int place[MAX_THREADS] = { 0 };

        for (int i = 0; i < b->threads; i++)
                place[order[i]] = i;
        meet_all(b, s, &n, order, place);
        for (int i = 0; i < b->cells; i++)
                put(&p, cell_weight(b, s, &n, place, n.met[i]), cell_bits(b));
        put(&p, shared_weight(s, &n), SHARED_BITS);
        if (b->ties)
                put(&p, tie_weight(s, &n), TIE_BITS);
        for (int i = 0; i < b->threads; i++)
                put(&p, whole_weight(b, &s->thread[order[i]], &n), thread_bits(b));
        return p.key;
}

/* What can be told of a slot before cells have names: NULL last, else looks. */
static unsigned slot_weight(const struct bounds *b, const struct state *s, const struct thread *t,
                            int ref)
{
        const struct cell *c = &s->cell[ref];
        unsigned colour = c->colour < BUFFERED ? c->colour : BUFFERED, filled = 0;

        if (!ref)
                return ~0u;
        for (int f = 0; f < b->fields; f++)
                filled = filled * 2 + (c->field[f] != 0);
        return (ref == s->root) * 64u + (ref == t->newest) * 32u + colour * 4u + filled;
}

static void sort_slots(const struct bounds *b, struct state *s)
{
        for (int i = 0; b->slots == 2 && i < b->threads; i++) {
                struct thread *t = &s->thread[i];
                uint8_t first = t->slot[0], second = t->slot[1];

                if (slot_weight(b, s, t, second) < slot_weight(b, s, t, first)) {
                        t->slot[0] = second;
                        t->slot[1] = first;
                }
        }
}

static unsigned thread_weight(const struct bounds *b, const struct thread *t)
{
        unsigned filled = 0;

        for (int j = 0; j < b->slots; j++)
                filled = filled * 2 + (t->slot[j] != 0);
        return t->armed * 512u + t->scanned * 256u + t->settled * 128u + t->flushed * 64u +
               t->op * 4u + filled;
}

static bool key_less(struct key a, struct key b)
{
        return a.word[0] != b.word[0] ? a.word[0] < b.word[0] : a.word[1] < b.word[1];
}

/* Tries every order of the threads from `at` on that sorts them by weight. */
static void pack_orders(const struct bounds *b, const struct state *s, int *order, int at,
                        struct key *best, bool *found)
{
        if (at == b->threads) {
                struct key key = pack_ordered(b, s, order);

                if (!*found || key_less(key, *best))
                        *best = key;
                *found = true;
                return;
        }
        for (int i = at; i < b->threads; i++) {
                int swapped = order[at];

                order[at] = order[i];
                order[i] = swapped;
                if (!at || thread_weight(b, &s->thread[order[at - 1]]) <=
                               thread_weight(b, &s->thread[order[at]]))
                        pack_orders(b, s, order, at + 1, best, found);
                order[i] = order[at];
                order[at] = swapped;
        }
}

struct key state_pack(const struct bounds *b, const struct state *state)
{
        struct state s = *state;
        int order[MAX_THREADS] = { 0, 1, 2 };
        struct key best = { { 0, 0 } };
        bool found = false;

        sort_slots(b, &s);
        pack_orders(b, &s, order, 0, &best, &found);
        return best;
}

/* ---- And back ----------------------------------------------------------------------------- */

static unsigned take(struct packer *p, unsigned width)
{
        unsigned word = p->nbits / 64, shift = p->nbits % 64;
        uint64_t value = p->key.word[word] >> shift;

        if (shift + width > 64)
                value |= p->key.word[1] << (64 - shift);
        p->nbits += width;
        return (unsigned)(value & ((UINT64_C(1) << width) - 1));
}

/* The lowest bits of a weight. */
static uint8_t strip(unsigned *weight, unsigned width)
{
        uint8_t value = (uint8_t)(*weight & ((1u << width) - 1));

        *weight >>= width;
        return value;
}

/* cell_weight() undone; so the others below. */
static void take_cell(struct packer *p, const struct bounds *b, struct cell *out)
{
        unsigned weight = take(p, cell_bits(b)), nfields = (unsigned)b->fields;

        for (int f = b->fields - 1; f >= 0; f--)
                out->field[f] = strip(&weight, 3);
        out->filtered = strip(&weight, nfields);
        out->noted = strip(&weight, nfields);
        out->run = strip(&weight, 2);
        out->colour = strip(&weight, 3);
        if (b->births) {
                out->born = strip(&weight, 1);
                out->wanted = strip(&weight, 1);
                out->later = strip(&weight, nfields);
        }
        if (b->ties) {
                out->item = strip(&weight, 1);
                out->tied = strip(&weight, 1);
        }
        if (b->words)
                out->words = strip(&weight, (unsigned)b->threads);
        out->allocated = strip(&weight, 1);
        out->unswept = strip(&weight, 1);
        out->hidden = strip(&weight, 1);
}

static void take_shared(struct packer *p, struct state *out)
{
        unsigned weight = take(p, SHARED_BITS);

        out->kind = strip(&weight, 2);
        out->root_scanned = strip(&weight, 1);
        out->hand = strip(&weight, 3);
        out->root = strip(&weight, 3);
}

static void take_thread(struct packer *p, const struct bounds *b, struct thread *out)
{
        unsigned weight = take(p, thread_bits(b));

        for (int j = b->slots - 1; j >= 0; j--)
                out->slot[j] = strip(&weight, 3);
        out->old = strip(&weight, 3);
        out->value = strip(&weight, 3);
        out->field = strip(&weight, 1);
        out->target = strip(&weight, 3);
        out->op = strip(&weight, 4);
        out->armed = strip(&weight, 1);
        out->scanned = strip(&weight, 1);
        out->settled = strip(&weight, 1);
        out->flushed = strip(&weight, 1);
        out->newest = strip(&weight, 3);
}

static void take_ties(struct packer *p, struct state *out)
{
        unsigned weight = take(p, TIE_BITS);

        out->looked = strip(&weight, 1);
        out->phase = strip(&weight, 1);
        out->tie[0].value = strip(&weight, 3);
        out->tie[0].key = strip(&weight, 3);
        out->tie[0].owner = strip(&weight, 3);
}

void state_unpack(const struct bounds *b, struct key key, struct state *out)
{
        struct packer p = { key, 0 };

        memset(out, 0, sizeof *out);
        for (int c = 1; c <= b->cells; c++)
                take_cell(&p, b, &out->cell[c]);
        take_shared(&p, out);
        if (b->ties)
                take_ties(&p, out);
        for (int t = 0; t < b->threads; t++)
                take_thread(&p, b, &out->thread[t]);
}
