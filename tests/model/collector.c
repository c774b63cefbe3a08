/* collector.c: what the collector can do, in the order of the cycle: finish the sweep, arm, scan,
 * mark, terminate, flip. What is enabled tells the phase; there is no other record of it.
 *
 * P1, P2 and P3 are protocol.c's. The mutants' switches stand where the rule stands that they
 * break. */
#include "tests/model/steps.h"

static bool is_outside(const struct rules *r, const struct thread *t)
{
        if (t->op == OP_SWAPPED && is_broken(r, MUTANT_WORDS_NOTED_OUTSIDE))
                return true;
        return t->op == OP_NONE;
}

static bool all_outside(const struct rules *r, const struct state *s)
{
        for (int t = 0; t < r->bounds.threads; t++)
                if (!is_outside(r, &s->thread[t]))
                        return false;
        return true;
}

static bool any_grey(const struct rules *r, const struct state *s)
{
        for (int c = 1; c <= r->bounds.cells; c++)
                if (s->cell[c].colour < BUFFERED && (s->cell[c].colour >= GREY || s->cell[c].item))
                        return true;
        return s->hand != 0;
}

static bool any_unswept(const struct rules *r, const struct state *s)
{
        for (int c = 1; c <= r->bounds.cells; c++)
                if (s->cell[c].unswept)
                        return true;
        return false;
}

static void sweep_steps(const struct maker *m)
{
        for (int c = 1; c <= m->rules->bounds.cells; c++) {
                struct state next = *m->from;
                struct cell *cell = &next.cell[c];

                if (!cell->unswept || !tie_may_settle(m->rules, m->from))
                        continue;
                tie_settle(m->rules, &next, c);
                cell->allocated = cell->colour != WHITE;
                cell->colour = is_old(&next, c) && next.kind == KIND_YOUNG ? BLACK : WHITE;
                cell->unswept = cell->born = 0;
                if (!cell->allocated) {
                        cell->run = cell->hidden = 0;
                        cell->filtered = 0;
                        for (int f = 0; f < m->rules->bounds.fields; f++)
                                cell->field[f] = POISON;
                }
                protocol_give(m, &next, DO_SWEEP, COLLECTOR, c, 0, 0);
        }
}

static bool any_uncleared(const struct rules *r, const struct state *s)
{
        for (int c = 1; s->kind == KIND_CLEARING && c <= r->bounds.cells; c++)
                if (s->cell[c].colour != WHITE)
                        return true;
        return false;
}

/* It was to be a young cycle, and a full one is wanted: the marks go, cell by cell. */
static void turn_full_step(const struct maker *m)
{
        struct state next = *m->from;

        if (next.kind != KIND_YOUNG || any_unswept(m->rules, m->from) ||
            !protocol_is_idle(m->rules, m->from))
                return;
        next.kind = KIND_CLEARING;
        if (!any_uncleared(m->rules, &next))
                next.kind = KIND_FULL;
        protocol_give(m, &next, DO_TURN_FULL, COLLECTOR, 0, 0, 0);
}

static void clear_steps(const struct maker *m)
{
        for (int c = 1; m->from->kind == KIND_CLEARING && c <= m->rules->bounds.cells; c++) {
                struct state next = *m->from;

                if (next.cell[c].colour == WHITE)
                        continue;
                next.cell[c].colour = WHITE;
                if (!any_uncleared(m->rules, &next))
                        next.kind = KIND_FULL;
                protocol_give(m, &next, DO_CLEAR, COLLECTOR, c, 0, 0);
        }
}

static bool can_shake(const struct maker *m, int t)
{
        if (is_broken(m->rules, MUTANT_CUT_BARRIER))
                return true;
        return is_outside(m->rules, &m->from->thread[t]); /* P1 */
}

/* The handshake is asked for; until then nobody is armed. */
static void begin_step(const struct maker *m)
{
        struct state next = *m->from;

        if (!m->rules->bounds.ties || next.phase || any_unswept(m->rules, m->from) ||
            any_uncleared(m->rules, m->from))
                return;
        next.phase = 1;
        protocol_give(m, &next, DO_BEGIN, COLLECTOR, 0, 0, 0);
}

/* All of a thread's newest object: it is old after the flip, and what is plainly stored into it
 * nobody sees. */
static void note_all(const struct rules *r, struct state *s, int newest, bool at_flip)
{
        if (newest && !s->cell[newest].born)
                *(at_flip ? &s->cell[newest].noted : &s->cell[newest].later) =
                    (uint8_t)((1 << r->bounds.fields) - 1);
}

/* What the thread makes from here on will be young after the flip. */
static void begin_young_births(const struct rules *r, struct state *s, int t)
{
        for (int c = 1; c <= r->bounds.cells; c++)
                if (s->cell[c].run == 1 + t)
                        s->cell[c].born = births_are_young(r, s, &s->thread[t]);
        if (births_are_young(r, s, &s->thread[t]) && !is_broken(r, MUTANT_NEWEST_UNNOTED_AT_SCAN))
                note_all(r, s, s->thread[t].newest, false);
}

/* A reference that was read in the heap. */
static void note_traced(const struct rules *r, struct state *s, int ref, enum mutant unless)
{
        if (ref && ref != POISON && s->cell[ref].born && !is_broken(r, unless))
                s->cell[ref].wanted = 1;
}

static void arm_step(const struct maker *m, int t)
{
        struct state next = *m->from;

        if (next.thread[t].armed || !can_shake(m, t) || next.phase != (m->rules->bounds.ties > 0))
                return;
        if (any_unswept(m->rules, m->from) && !is_broken(m->rules, MUTANT_ARM_UNSWEPT))
                return;
        if (any_uncleared(m->rules, m->from) && !is_broken(m->rules, MUTANT_ARM_UNCLEARED))
                return;
        next.thread[t].armed = 1;
        for (int c = 1; is_broken(m->rules, MUTANT_BLACK_FROM_ARM) && c <= m->rules->bounds.cells;
             c++)
                if (next.cell[c].run == 1 + t)
                        next.cell[c].colour = BLACK;
        protocol_give(m, &next, DO_ARM, COLLECTOR, t, 0, 0);
}

static void settle_step(const struct maker *m, int t)
{
        struct state next = *m->from;

        for (int i = 0; i < m->rules->bounds.threads; i++)
                if (!next.thread[i].armed)
                        return;
        if (!m->rules->settle || next.thread[t].settled || !can_shake(m, t))
                return;
        next.thread[t].settled = 1;
        protocol_give(m, &next, DO_SETTLE, COLLECTOR, t, 0, 0);
}

/* May a stale word mark this cell? */
static bool junk_marks(const struct rules *r, const struct state *s, int c)
{
        if (s->cell[c].colour != WHITE)
                return false;
        if (!s->cell[c].allocated)
                return is_broken(r, MUTANT_JUNK_MARKS_FREE);
        return !s->cell[c].run || is_broken(r, MUTANT_JUNK_MARKS_RUN);
}

static void scan_words(const struct rules *r, struct state *s, int t)
{
        const struct thread *thread = &s->thread[t];

        for (int j = 0; j < r->bounds.slots; j++)
                shade_by(s, t, thread->slot[j]);
        if (thread->op != OP_NONE) { /* only a mutant scans a thread's registers there */
                shade_by(s, t, thread->target);
                shade_by(s, t, thread->value);
                shade_by(s, t, thread->old);
        }
}

static bool can_scan(const struct maker *m, int t)
{
        const struct thread *thread = &m->from->thread[t];

        if (thread->scanned || !thread->armed || !can_shake(m, t))
                return false;
        return protocol_all_armed(m->rules, m->from) || is_broken(m->rules, MUTANT_EARLY_SCAN);
}

/* One step for each set of cells that the stale words of this stack may point to. */
static void scan_steps(const struct maker *m, int t)
{
        unsigned can = 0;
        struct state scanned = *m->from;

        if (!can_scan(m, t))
                return;
        scan_words(m->rules, &scanned, t);
        if (is_broken(m->rules, MUTANT_WORDS_LOST_AT_SCAN))
                protocol_forget_words(m->rules, &scanned, t);
        for (int c = 1; !m->rules->lean && c <= m->rules->bounds.cells; c++)
                can |= (unsigned)junk_marks(m->rules, &scanned, c) << c;
        scanned.thread[t].scanned = 1;
        begin_young_births(m->rules, &scanned, t);
        for (unsigned junk = can;; junk = (junk - 1) & can) {
                struct state next = scanned;

                for (int c = 1; c <= m->rules->bounds.cells; c++) {
                        if (junk >> c & 1)
                                protocol_mark(&next.cell[c], BUFFERED + t);
                        else if (next.cell[c].run == 1 + t && next.cell[c].colour == WHITE &&
                                 !is_broken(m->rules, MUTANT_RUN_STAYS_WHITE))
                                next.cell[c].colour = BLACK;
                }
                protocol_give(m, &next, DO_SCAN, COLLECTOR, t, (int)junk, 0);
                if (!junk)
                        return;
        }
}

static void root_step(const struct maker *m)
{
        struct state next = *m->from;
        bool may = protocol_all_armed(m->rules, m->from);

        for (int t = 0; t < m->rules->bounds.threads; t++)
                may |= is_broken(m->rules, MUTANT_EARLY_ROOT_SCAN) && m->from->thread[t].armed;
        if (!may || next.root_scanned || next.hand)
                return;
        next.root_scanned = 1;
        next.hand = next.root;
        protocol_give(m, &next, DO_SCAN_ROOT, COLLECTOR, next.root, 0, 0);
}

/* What was born in the last cycle, and referred to. */
static void wanted_step(const struct maker *m, int c)
{
        struct state next = *m->from;

        if (!next.cell[c].wanted || next.cell[c].born)
                return;
        next.cell[c].wanted = 0;
        next.hand = (uint8_t)c;
        protocol_give(m, &next, DO_SCAN_WANTED, COLLECTOR, c, 0, 0);
}

/* The slots in the journal are roots of a young cycle, but not as early as the root: a thread
 * that is not yet scanned may fill its newest object, which is in there, from its stack. */
static void journal_steps(const struct maker *m)
{
        bool may = is_broken(m->rules, MUTANT_EARLY_JOURNAL_SCAN)
                       ? protocol_all_armed(m->rules, m->from)
                       : protocol_all_scanned(m->rules, m->from);

        if (!may || m->from->hand || (m->from->kind != KIND_YOUNG))
                return;
        for (int c = 1; c <= m->rules->bounds.cells; c++) {
                for (int f = 0; f < m->rules->bounds.fields; f++) {
                        struct state next = *m->from;

                        if (!(next.cell[c].noted >> f & 1))
                                continue;
                        next.cell[c].noted &= (uint8_t)~(1u << f);
                        if (!is_old(&next, c) && m->rules->bounds.births &&
                            !is_broken(m->rules, MUTANT_DEAD_HOLDER_READ))
                                ; /* it has died since, and something else may be there */
                        else if (!next.cell[c].allocated || next.cell[c].field[f] == POISON)
                                next.fault = "M2: the journal leads to what is no object";
                        else if (!is_broken(m->rules, MUTANT_JOURNAL_DROPPED_AT_SCAN))
                                next.hand = next.cell[c].field[f];
                        note_traced(m->rules, &next, next.hand, MUTANT_BIRTH_IN_JOURNAL_UNNOTED);
                        protocol_give(m, &next, DO_SCAN_SLOT, COLLECTOR, c, f, 0);
                }
                wanted_step(m, c);
        }
}

/* Reads one field of one grey cell; any cell may be half traced, as with many workers. */
static void trace_steps(const struct maker *m)
{
        bool may = is_broken(m->rules, MUTANT_EARLY_TRACE)
                       ? protocol_all_armed(m->rules, m->from)
                       : protocol_all_scanned(m->rules, m->from);

        for (int c = 1; may && !m->from->hand && c <= m->rules->bounds.cells; c++) {
                struct state next = *m->from;
                struct cell *cell = &next.cell[c];
                int f = cell->colour - GREY;

                if (cell->colour < GREY || cell->colour >= BUFFERED)
                        continue;
                if (cell->field[f] == POISON)
                        next.fault = "M2: a cell that is no object was traced";
                else
                        next.hand = cell->field[f];
                note_traced(m->rules, &next, next.hand, MUTANT_TRACED_BIRTH_UNNOTED);
                cell->colour = f + 1 < m->rules->bounds.fields ? (uint8_t)(GREY + f + 1) : BLACK;
                protocol_give(m, &next, DO_TRACE, COLLECTOR, c, f, 0);
        }
}

static void hand_step(const struct maker *m)
{
        struct state next = *m->from;

        if (!next.hand)
                return;
        protocol_shade(&next, next.hand, GREY);
        protocol_give(m, &next, DO_SHADE_TRACED, COLLECTOR, next.hand, 0, 0);
}

/* A round ends when everybody in turn had nothing; whoever has some starts it anew. */
static void round_step(const struct maker *m, int t)
{
        struct state next = *m->from;

        if (!m->rules->rounds || !can_shake(m, t) || next.thread[t].flushed)
                return;
        if (!protocol_all_scanned(m->rules, m->from) || any_grey(m->rules, m->from))
                return;
        protocol_shade_words(m->rules, &next, t);
        next.thread[t].flushed = 1;
        for (int i = 0; protocol_any_buffered(m->rules, &next, t) && i < m->rules->bounds.threads;
             i++)
                next.thread[i].flushed = 0;
        protocol_give_away(m->rules, &next, t);
        protocol_give(m, &next, DO_FLUSH_ROUND, COLLECTOR, t, 0, 0);
}

/* The stop shades what is noted; if that makes anything grey, it is put off until that is
 * traced. */
static bool may_be_noted(const struct rules *r)
{
        return is_broken(r, MUTANT_WORDS_LOST_AT_FLIP) ||
               is_broken(r, MUTANT_WORDS_KEPT_OVER_FLIP) ||
               is_broken(r, MUTANT_WORDS_LATE_AT_STOP);
}

static void break_words(const struct rules *r, struct state *s)
{
        for (int t = 0; is_broken(r, MUTANT_WORDS_LATE_AT_STOP) && t < r->bounds.threads; t++) {
                protocol_shade_words(r, s, t);
                protocol_drop_buffer(r, s, t);
        }
        for (int t = 0; is_broken(r, MUTANT_WORDS_LOST_AT_FLIP) && t < r->bounds.threads; t++)
                protocol_forget_words(r, s, t);
}

static bool can_flip(const struct maker *m)
{
        const struct rules *r = m->rules;

        if (!protocol_all_scanned(r, m->from) || !m->from->root_scanned || any_grey(r, m->from))
                return false;
        for (int c = 1; m->from->kind == KIND_YOUNG && c <= r->bounds.cells; c++)
                if (m->from->cell[c].noted || (m->from->cell[c].wanted && !m->from->cell[c].born))
                        return false;
        if (m->from->kind == KIND_YOUNG && r->bounds.ties && !m->from->looked)
                return false;
        if (!all_outside(r, m->from) && !is_broken(r, MUTANT_STOP_CUTS_BARRIER))
                return false;
        for (int t = 0; r->rounds && t < r->bounds.threads; t++)
                if (!m->from->thread[t].flushed)
                        return false;
        if (is_broken(r, MUTANT_BUFFERS_FORGOTTEN) || is_broken(r, MUTANT_STOP_TRUSTS_ROUND))
                return true;
        if (protocol_any_words(r, m->from, COLLECTOR) && !may_be_noted(r))
                return false;
        return !protocol_any_buffered(r, m->from, COLLECTOR);
}

static void clear_run_cell(const struct rules *r, struct cell *cell)
{
        if (!is_broken(r, MUTANT_RUN_KEPT))
                cell->run = 0;
        if (is_broken(r, MUTANT_RUN_NOT_CLEARED)) {
                cell->unswept = 1;
                return;
        }
        cell->allocated = cell->born = cell->wanted = 0;
        cell->colour = WHITE;
}

/* A thread's newest object is old from here on, and may still be filled with plain stores: all
 * of it is in the journal of the next cycle. */
static void note_newest(const struct rules *r, struct state *s)
{
        for (int t = 0; t < r->bounds.threads; t++)
                if (!is_broken(r, MUTANT_NEWEST_UNNOTED))
                        note_all(r, s, s->thread[t].newest, true);
}

/* What was noted while this cycle ran is the next one's. */
static void turn_journal(const struct rules *r, struct state *s, enum kind kind)
{
        for (int c = 1; c <= r->bounds.cells; c++) {
                struct cell *cell = &s->cell[c];

                if (!is_broken(r, MUTANT_JOURNAL_KEPT_OVER_FULL))
                        cell->noted = 0; /* a full cycle has not read them */
                if (kind == KIND_YOUNG && !is_broken(r, MUTANT_LATER_IS_LOST))
                        cell->noted |= cell->later;
                cell->later = 0;
                if (kind != KIND_YOUNG || !cell->born)
                        cell->wanted = 0; /* the same */
        }
        if (kind == KIND_YOUNG)
                note_newest(r, s);
}

/* A free cell is swept as it stands, but for the mutant that would reuse it too early. */
static void flip_step(const struct maker *m, enum kind kind)
{
        struct state next = *m->from;

        if (!can_flip(m))
                return;
        break_words(m->rules, &next);
        for (int c = 1; c <= m->rules->bounds.cells; c++) {
                struct cell *cell = &next.cell[c];

                if (cell->run)
                        clear_run_cell(m->rules, cell);
                else
                        cell->unswept = cell->allocated;
                if (is_broken(m->rules, MUTANT_REFILL_UNSWEPT))
                        cell->unswept = 1;
        }
        for (int t = 0; t < m->rules->bounds.threads; t++) {
                struct thread *thread = &next.thread[t];

                thread->armed = thread->scanned = thread->settled = thread->flushed = 0;
        }
        next.root_scanned = next.phase = next.looked = 0;
        next.kind = kind;
        turn_journal(m->rules, &next, kind);
        protocol_give(m, &next, kind == KIND_YOUNG ? DO_FLIP_YOUNG : DO_FLIP, COLLECTOR, 0, 0, 0);
}

void collector_steps(const struct maker *m)
{
        sweep_steps(m);
        begin_step(m);
        for (int t = 0; t < m->rules->bounds.threads; t++) {
                arm_step(m, t);
                settle_step(m, t);
                scan_steps(m, t);
                round_step(m, t);
        }
        root_step(m);
        trace_steps(m);
        hand_step(m);
        journal_steps(m);
        tie_collector_steps(m);
        turn_full_step(m);
        clear_steps(m);
        flip_step(m, KIND_FULL);
        if (m->rules->ages)
                flip_step(m, KIND_YOUNG);
}
