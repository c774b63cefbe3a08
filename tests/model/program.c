/* program.c: what a thread of the program can do: lose and load references, make objects, fill
 * them with plain stores, and go through the barriers one shared access at a time.
 *
 * P1, P2 and P3 are protocol.c's. The mutants' switches stand where the rule stands that they
 * break. */
#include "tests/model/steps.h"

#include <string.h>

static bool shades_old(const struct rules *r, const struct thread *t)
{
        return t->armed && !(is_broken(r, MUTANT_INSERTION_ONLY) && t->scanned);
}

static bool shades_new(const struct rules *r, const struct thread *t)
{
        if (is_broken(r, MUTANT_DELETION_ONLY))
                return false;
        return t->armed && (!t->scanned || is_broken(r, MUTANT_INSERTION_ONLY));
}

/* ---- Stacks, births, plain stores ---------------------------------------------------------- */

static bool births_are_black(const struct rules *r, const struct thread *t)
{
        if (is_broken(r, MUTANT_REFILL_STAYS_WHITE))
                return false;
        return is_broken(r, MUTANT_BLACK_FROM_ARM) ? t->armed : t->scanned;
}

static void give_birth(const struct rules *r, struct state *s, const struct thread *t,
                       struct cell *cell)
{
        if (births_are_black(r, t) && cell->colour == WHITE)
                cell->colour = BLACK;
        cell->born = births_are_young(r, s, t);
}

static void drop_steps(const struct maker *m, int t, int j)
{
        struct state next = *m->from;

        if (!next.thread[t].slot[j])
                return;
        next.thread[t].slot[j] = 0;
        protocol_give(m, &next, DO_DROP, t, j, 0, 0);
}

/* Into an empty slot, or over the very reference that was followed: any other load is a drop
 * and one of these. */
static void load_steps(const struct maker *m, int t, int into)
{
        const struct thread *thread = &m->from->thread[t];

        for (int j = 0; j < m->rules->bounds.slots; j++) {
                int object = thread->slot[j];

                if (!object || (thread->slot[into] && j != into))
                        continue;
                for (int f = 0; f < m->rules->bounds.fields; f++) {
                        struct state next = *m->from;
                        int value = m->from->cell[object].field[f];

                        if (!value)
                                continue;
                        next.thread[t].slot[into] = (uint8_t)value;
                        protocol_give(m, &next, DO_LOAD, t, value, object, f);
                }
        }
        if (!thread->slot[into] && m->from->root) {
                struct state next = *m->from;

                next.thread[t].slot[into] = m->from->root;
                protocol_give(m, &next, DO_LOAD_ROOT, t, m->from->root, 0, 0);
        }
}

/* Claims one free cell: a longer run is several refills. */
static void refill_steps(const struct maker *m, int t)
{
        int held = 0;

        for (int c = 1; c <= m->rules->bounds.cells; c++)
                held += m->from->cell[c].run == 1 + t;
        if (held >= m->rules->bounds.run)
                return;
        for (int c = 1; c <= m->rules->bounds.cells; c++) {
                const struct cell *cell = &m->from->cell[c];
                struct state next = *m->from;

                if (cell->allocated ||
                    (cell->unswept && !is_broken(m->rules, MUTANT_REFILL_UNSWEPT)))
                        continue;
                next.cell[c].allocated = 1;
                next.cell[c].run = (uint8_t)(1 + t);
                give_birth(m->rules, &next, &next.thread[t], &next.cell[c]);
                next.thread[t].newest = 0;
                protocol_give(m, &next, DO_REFILL, t, c, 0, 0);
        }
}

static bool fills_hidden(const struct rules *r)
{
        return is_broken(r, MUTANT_PLAIN_OLDER) || is_broken(r, MUTANT_PLAIN_OLDER_OVERWRITE);
}

/* From its run; where there are none, from what is free: a refill and a birth in one. */
static bool can_be_born(const struct maker *m, int t, int c)
{
        const struct cell *cell = &m->from->cell[c];

        if (m->rules->bounds.run > 0)
                return cell->run == 1 + t;
        return !cell->allocated && !cell->unswept;
}

static void new_steps(const struct maker *m, int t, int into)
{
        for (int c = 1; c <= m->rules->bounds.cells && !m->from->thread[t].slot[into]; c++) {
                struct state next = *m->from;

                if (!can_be_born(m, t, c))
                        continue;
                if (!next.cell[c].run)
                        give_birth(m->rules, &next, &next.thread[t], &next.cell[c]);
                next.cell[c].run = 0;
                next.cell[c].allocated = 1;
                next.cell[c].hidden = fills_hidden(m->rules);
                memset(next.cell[c].field, 0, sizeof next.cell[c].field);
                next.thread[t].slot[into] = (uint8_t)c;
                next.thread[t].newest = (uint8_t)c;
                protocol_give(m, &next, DO_NEW, t, c, 0, 0);
        }
}

/* Rule 3 of the users: the newest object, each slot once, over its zero. */
static bool may_fill(const struct maker *m, int t, int object, int f)
{
        int now = m->from->cell[object].field[f];

        if (fills_hidden(m->rules) && m->from->cell[object].hidden)
                return !now || is_broken(m->rules, MUTANT_PLAIN_OLDER_OVERWRITE);
        if (object != m->from->thread[t].newest)
                return false;
        return !now || is_broken(m->rules, MUTANT_PLAIN_OVERWRITE);
}

static void fill_steps(const struct maker *m, int t, int object, int value)
{
        for (int f = 0; object && f < m->rules->bounds.fields; f++) {
                struct state next = *m->from;

                if (value == next.cell[object].field[f] || !may_fill(m, t, object, f))
                        continue;
                next.cell[object].field[f] = (uint8_t)value;
                protocol_give(m, &next, DO_FILL, t, value, object, f);
        }
}

/* ---- Barriers ------------------------------------------------------------------------------ */

/* What a barrier has to shade: noted, where it notes. */
static void note_by(const struct rules *r, struct state *s, int t, int ref)
{
        if (!r->bounds.words || !state_is_object(s, ref))
                shade_by(s, t, ref);
        else if (state_is_white(s, ref))
                s->cell[ref].words |= (uint8_t)(1u << t);
}

static int read_slot(const struct state *s, const struct thread *t)
{
        return t->target ? s->cell[t->target].field[t->field] : s->root;
}

static void unhide(const struct rules *r, struct state *s, int ref)
{
        if (!ref || ref == POISON || !s->cell[ref].hidden)
                return;
        s->cell[ref].hidden = 0;
        for (int f = 0; f < r->bounds.fields; f++)
                unhide(r, s, s->cell[ref].field[f]);
}

/* A store of what is born in this cycle, by a thread that is armed: what it is stored into is
 * old after the flip if it lives and was there before. Noted down with the write, as nobody looks
 * at that journal before the next cycle. */
static void note_birth(const struct rules *r, struct state *s, const struct thread *t)
{
        if (!t->armed || !t->target || !s->cell[t->value].born || s->cell[t->target].born)
                return;
        if (is_broken(r, MUTANT_BIRTH_UNNOTED) ||
            (is_broken(r, MUTANT_BIRTH_UNNOTED_UNSCANNED) && !t->scanned))
                return;
        s->cell[t->target].later |= (uint8_t)(1u << t->field);
}

static void write_slot(const struct rules *r, struct state *s, const struct thread *t)
{
        note_birth(r, s, t);
        unhide(r, s, t->value);
        unhide(r, s, t->target);
        if (t->target)
                s->cell[t->target].field[t->field] = t->value;
        else
                s->root = t->value;
}

/* What a thread that shades nothing does after its write (P2: it stays unarmed). */
static bool notes(const struct rules *r, const struct state *s, const struct thread *t, bool cas)
{
        if (s->kind != KIND_YOUNG || t->armed || !t->target || !t->value)
                return false;
        if (is_broken(r, MUTANT_NOTES_END_WITH_FIRST_ARM) && protocol_any_armed(r, s))
                return false;
        return !is_broken(r, MUTANT_STORE_UNNOTED) && !(cas && is_broken(r, MUTANT_CAS_UNNOTED));
}

/* A slot of an old object that refers to a young one is noted down, once. */
static void note_slot(const struct rules *r, struct state *s, const struct thread *t)
{
        struct cell *cell = &s->cell[t->target];
        uint8_t bit = (uint8_t)(1u << t->field);
        bool due = is_old(s, t->target) && is_young(r, s, t->value);

        if (is_broken(r, MUTANT_NOTES_VALUES_AGE))
                due = is_old(s, t->value) && is_young(r, s, t->target);
        if (!due || cell->filtered & bit)
                return;
        cell->noted |= bit;
        if (is_broken(r, MUTANT_FILTER_KEPT))
                cell->filtered |= bit;
}

static void leave(struct thread *t)
{
        t->op = OP_NONE;
        t->target = t->field = t->value = t->old = 0;
}

/* STORE_LOCKED: somebody else is storing into that slot. */
static bool is_contended(const struct maker *m, int t, int target, int f)
{
        for (int i = 0; i < m->rules->bounds.threads; i++) {
                const struct thread *other = &m->from->thread[i];

                if (i != t && other->op != OP_NONE && other->target == target && other->field == f)
                        return true;
        }
        return false;
}

static void swap_in(const struct rules *r, struct state *s, struct thread *t)
{
        int old = read_slot(s, t);
        bool shades = shades_old(r, t) && state_is_white(s, old);

        write_slot(r, s, t);
        leave(t);
        if (shades) {
                t->op = OP_SWAPPED;
                t->old = (uint8_t)old;
        }
}

/* A thread that shades nothing writes at once: its check reads only what P2 keeps still. */
static void begin_store(const struct maker *m, int t, int target, int f, int value)
{
        const struct rules *r = m->rules;
        struct state next = *m->from;
        struct thread *thread = &next.thread[t];

        thread->newest = 0;
        thread->target = (uint8_t)target;
        thread->field = (uint8_t)f;
        thread->value = (uint8_t)value;
        if (read_slot(&next, thread) == value && !thread->armed)
                return;
        if (!thread->armed && is_broken(r, MUTANT_CUT_BARRIER)) {
                thread->op = OP_WRITE;
        } else if (!thread->armed) {
                write_slot(r, &next, thread);
                if (notes(r, &next, thread, false))
                        thread->op = OP_JOURNAL;
                else
                        leave(thread);
        } else if (r->store != STORE_SWAPS) {
                thread->old = (uint8_t)read_slot(&next, thread);
                thread->op = OP_OLD;
        } else if (shades_new(r, thread) && state_is_white(&next, value)) {
                note_by(r, &next, t, value);
                thread->op = OP_SWAP;
        } else {
                swap_in(r, &next, thread);
        }
        protocol_give(m, &next, DO_STORE, t, target, f, value);
}

static void begin_cas(const struct maker *m, int t, int target, int f, int expected, int desired)
{
        const struct rules *r = m->rules;
        struct state next = *m->from;
        struct thread *thread = &next.thread[t];

        if (expected == desired)
                return;
        thread->newest = 0;
        thread->target = (uint8_t)target;
        thread->field = (uint8_t)f;
        thread->value = (uint8_t)desired;
        thread->old = (uint8_t)expected;
        if (thread->armed) {
                thread->op = OP_EXPECT;
        } else {
                if (read_slot(&next, thread) != expected)
                        return;
                write_slot(r, &next, thread);
                thread->old = 0;
                if (notes(r, &next, thread, true))
                        thread->op = OP_JOURNAL;
                else
                        leave(thread);
        }
        protocol_give(m, &next, DO_CAS, t, target, f, desired);
}

static void compare_and_write(const struct rules *r, struct state *s, struct thread *t)
{
        if (read_slot(s, t) == t->old)
                write_slot(r, s, t);
        leave(t);
}

/* The one next step of a thread inside Polder. */
static void inside_step(const struct maker *m, int t)
{
        const struct rules *r = m->rules;
        struct state next = *m->from;
        struct thread *thread = &next.thread[t];
        int old = thread->old, value = thread->value;

        switch ((enum op)thread->op) {
        case OP_NONE:
                return;
        case OP_OLD:
                if (shades_old(r, thread))
                        note_by(r, &next, t, old);
                thread->old = 0;
                thread->op =
                    shades_new(r, thread) && state_is_white(&next, value) ? OP_NEW : OP_WRITE;
                protocol_give(m, &next, DO_SHADE_OLD, t, old, 0, 0);
                return;
        case OP_NEW:
                note_by(r, &next, t, value);
                thread->op = OP_WRITE;
                protocol_give(m, &next, DO_SHADE_NEW, t, value, 0, 0);
                return;
        case OP_WRITE:
                write_slot(r, &next, thread);
                leave(thread);
                protocol_give(m, &next, DO_WRITE, t, value, 0, 0);
                return;
        case OP_SWAP:
                swap_in(r, &next, thread);
                protocol_give(m, &next, DO_SWAP, t, value, 0, 0);
                return;
        case OP_SWAPPED:
                note_by(r, &next, t, old);
                leave(thread);
                protocol_give(m, &next, DO_SHADE_SWAPPED, t, old, 0, 0);
                return;
        case OP_EXPECT:
                if (!is_broken(r, MUTANT_CAS_DESIRED_ONLY))
                        note_by(r, &next, t, old);
                thread->op = OP_DESIRE;
                protocol_give(m, &next, DO_SHADE_EXPECTED, t, old, 0, 0);
                return;
        case OP_DESIRE:
                if (!is_broken(r, MUTANT_CAS_EXPECTED_ONLY))
                        note_by(r, &next, t, value);
                thread->op = OP_COMPARE;
                protocol_give(m, &next, DO_SHADE_DESIRED, t, value, 0, 0);
                return;
        case OP_JOURNAL:
                note_slot(r, &next, thread);
                leave(thread);
                protocol_give(m, &next, DO_NOTE, t, thread->target, 0, 0);
                return;
        case OP_COMPARE:
                compare_and_write(r, &next, thread);
                protocol_give(m, &next, DO_COMPARE, t, value, 0, 0);
                return;
        default:
                return;
        }
}

/* ---- What the thread has noted and shaded --------------------------------------------------- */

static void flush_step(const struct maker *m, int t)
{
        struct state next = *m->from;

        if (!protocol_any_buffered(m->rules, m->from, t) &&
            !protocol_any_words(m->rules, m->from, t))
                return;
        if (is_broken(m->rules, MUTANT_WORDS_LOST_AT_FLUSH))
                protocol_forget_words(m->rules, &next, t);
        protocol_shade_words(m->rules, &next, t);
        protocol_give_away(m->rules, &next, t);
        protocol_give(m, &next, DO_FLUSH, t, 0, 0, 0);
}

/* As when there are many: one by one, as others may come between. */
static void word_steps(const struct maker *m, int t)
{
        for (int c = 1; c <= m->rules->bounds.cells; c++) {
                struct state next = *m->from;

                if (!(next.cell[c].words >> t & 1))
                        continue;
                next.cell[c].words &= (uint8_t)~(1u << t);
                if (!is_broken(m->rules, MUTANT_WORDS_LOST_WHEN_FULL))
                        shade_by(&next, t, c);
                protocol_give(m, &next, DO_SHADE_WORD, t, c, 0, 0);
        }
}

/* Another thread attaches in its place, with an empty stack and the same state: both happen
 * between two handshakes, when all threads have the same. */
static void detach_step(const struct maker *m, int t)
{
        const struct rules *r = m->rules;
        struct state next = *m->from;
        struct thread *thread = &next.thread[t];

        if (!r->leaves)
                return;
        thread->newest = 0;
        memset(thread->slot, 0, sizeof thread->slot);
        if (is_broken(r, MUTANT_WORDS_LOST_AT_DETACH))
                protocol_forget_words(r, &next, t);
        protocol_shade_words(r, &next, t);
        if (is_broken(r, MUTANT_BUFFER_LOST_AT_DETACH))
                protocol_drop_buffer(r, &next, t);
        protocol_give_away(r, &next, t);
        for (int c = 1; c <= r->bounds.cells; c++) {
                struct cell *cell = &next.cell[c];

                if (cell->run != 1 + t)
                        continue;
                cell->run = cell->allocated = cell->born = 0;
                cell->colour = WHITE;
        }
        protocol_give(m, &next, DO_DETACH, t, 0, 0, 0);
}

/* Every barriered operation on one slot, with every value the thread has at hand. */
static void slot_steps(const struct maker *m, int t, int target, int f)
{
        const struct thread *thread = &m->from->thread[t];
        int n = m->rules->bounds.slots;

        if (m->rules->store == STORE_LOCKED && is_contended(m, t, target, f))
                return;
        for (int i = 0; i <= n; i++) {
                int value = i < n ? thread->slot[i] : 0;

                if (i < n && !value)
                        continue;
                begin_store(m, t, target, f, value);
                for (int j = 0; m->rules->cas && j <= n; j++)
                        if (j == n || thread->slot[j])
                                begin_cas(m, t, target, f, j < n ? thread->slot[j] : 0, value);
        }
}

void program_steps(const struct maker *m, int t)
{
        const struct thread *thread = &m->from->thread[t];
        const struct bounds *b = &m->rules->bounds;

        flush_step(m, t);
        word_steps(m, t);
        if (thread->op != OP_NONE) {
                if (!tie_inside_step(m, t))
                        inside_step(m, t);
                return;
        }
        detach_step(m, t);
        refill_steps(m, t);
        slot_steps(m, t, 0, 0);
        tie_program_steps(m, t);
        for (int j = 0; j < b->slots; j++) {
                drop_steps(m, t, j);
                load_steps(m, t, j);
                new_steps(m, t, j);
                for (int f = 0; thread->slot[j] && f < b->fields; f++)
                        slot_steps(m, t, thread->slot[j], f);
                for (int i = 0; i <= b->slots; i++)
                        fill_steps(m, t, thread->slot[j], i < b->slots ? thread->slot[i] : 0);
        }
}
