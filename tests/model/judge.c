/* judge.c: what is wrong with a state, and what a step is called.
 *
 * protocol_loss() is the promise to the program and is asked of every protocol, mutants too;
 * protocol_breach() is how the correct one keeps it, and the place where an explanation that
 * is not true would show. The numbers are those of the essay in cycle_model.c. */
#include "tests/model/protocol.h"

#include <stdio.h>

/* A set of cells is a word of bits, bit c for the cell c. */
static unsigned fields_of(const struct rules *r, const struct state *s, int c, int from)
{
        unsigned set = 0;

        for (int f = from; f < r->bounds.fields; f++)
                set |= 1u << s->cell[c].field[f];
        return set & ~1u;
}

static unsigned close_over(const struct rules *r, const struct state *s, unsigned set,
                           unsigned through)
{
        unsigned before;

        do {
                before = set;
                for (int c = 1; c <= r->bounds.cells; c++)
                        if (set & through & 1u << c)
                                set |= fields_of(r, s, c, 0);
        } while (set != before);
        return set;
}

/* A value is in reach of who can reach owner and key. */
static unsigned close_over_ties(const struct rules *r, const struct state *s, unsigned set)
{
        unsigned before;

        do {
                set = close_over(r, s, set, ~0u);
                before = set;
                for (int i = 0; i < r->bounds.ties; i++) {
                        const struct tie *tie = &s->tie[i];

                        if (tie->owner && set & 1u << tie->owner && set & 1u << tie->key)
                                set |= 1u << tie->value & ~1u;
                }
        } while (set != before);
        return set;
}

/* What the program can get hold of; bit POISON: it can read memory nobody zeroed. */
static unsigned reachable(const struct rules *r, const struct state *s)
{
        unsigned set = 1u << s->root;

        for (int t = 0; t < r->bounds.threads; t++)
                for (int j = 0; j < r->bounds.slots; j++)
                        set |= 1u << s->thread[t].slot[j];
        return close_over_ties(r, s, set & ~1u);
}

static bool any_armed(const struct rules *r, const struct state *s)
{
        bool any = false;

        for (int t = 0; t < r->bounds.threads; t++)
                any |= s->thread[t].armed;
        return any;
}

static bool all_scanned(const struct rules *r, const struct state *s)
{
        bool all = true;

        for (int t = 0; t < r->bounds.threads; t++)
                all &= s->thread[t].scanned;
        return all;
}

const char *protocol_loss(const struct rules *r, const struct state *s)
{
        unsigned set;

        if (s->fault) /* M2 */
                return s->fault;
        set = reachable(r, s);
        if (set & 1u << POISON)
                return "M1: the program reads a slot that nobody zeroed";
        for (int c = 1; c <= r->bounds.cells; c++) {
                if (!(set & 1u << c) || state_is_live(s, c))
                        continue;
                if (state_is_dead(s, c))
                        return "M1: an object in reach was left unmarked by the flip";
                return "M1: an object in reach lies on a free cell";
        }
        return NULL;
}

static bool heap_is_whole(const struct rules *r, const struct state *s) /* M3 */
{
        for (int c = 1; c <= r->bounds.cells; c++) {
                if (!state_is_live(s, c))
                        continue;
                for (int f = 0; f < r->bounds.fields; f++) {
                        int ref = s->cell[c].field[f];

                        if (ref && !state_is_live(s, ref))
                                return false;
                }
        }
        for (int i = 0; i < r->bounds.ties; i++) {
                const struct tie *tie = &s->tie[i];

                if (tie->owner && state_is_live(s, tie->owner) && state_is_live(s, tie->key) &&
                    tie->value && !state_is_live(s, tie->value))
                        return false;
        }
        return true;
}

static bool marks_are_sound(const struct rules *r, const struct state *s) /* M4 */
{
        for (int c = 1; c <= r->bounds.cells; c++) {
                const struct cell *cell = &s->cell[c];

                if (cell->item && (cell->colour == WHITE || !s->phase))
                        return false;
                if (cell->unswept && (any_armed(r, s) || cell->colour > BLACK))
                        return false;
                if (cell->unswept || cell->colour == WHITE)
                        continue;
                if (!cell->allocated)
                        return false;
                if (!s->phase && !any_armed(r, s) &&
                    (s->kind == KIND_FULL || cell->colour != BLACK))
                        return false;
                if (cell->run && !(s->thread[cell->run - 1].scanned && cell->colour == BLACK))
                        return false;
        }
        return true;
}

static unsigned whites(const struct rules *r, const struct state *s)
{
        unsigned set = 0;

        for (int c = 1; c <= r->bounds.cells; c++)
                set |= (unsigned)(s->cell[c].colour == WHITE) << c;
        return set;
}

/* The end will be looked at: it waits for that, or will when it is marked. */
static bool will_trigger(const struct state *s, int end, unsigned white, unsigned guarded)
{
        return s->cell[end].item || (s->cell[end].tied && guarded & white & 1u << end);
}

/* Adds the values of ties that will be triggered, and what they lead to. */
static unsigned close_over_guards(const struct rules *r, const struct state *s, unsigned set,
                                  unsigned white)
{
        unsigned before;

        do {
                unsigned marked;

                set = close_over(r, s, set, white);
                before = set;
                marked = set | ~white;
                for (int i = 0; i < r->bounds.ties; i++) {
                        const struct tie *tie = &s->tie[i];
                        bool waits = s->kind == KIND_YOUNG && !s->looked;

                        if (!tie->owner || !(marked & 1u << tie->owner) ||
                            !(marked & 1u << tie->key))
                                continue;
                        if (waits || will_trigger(s, tie->owner, white, set) ||
                            will_trigger(s, tie->key, white, set))
                                set |= 1u << tie->value;
                }
        } while (set != before);
        return set;
}

/* Inside a put, and yet to shade what it puts. */
static bool is_tying(const struct state *s, int t)
{
        return s->thread[t].op == OP_TIE_FLAGS || s->thread[t].op == OP_TIE_SHADE;
}

/* Once all are scanned, a white object in reach hangs, by whites alone, on something that is
 * still to be traced. */
static bool whites_are_guarded(const struct rules *r, const struct state *s) /* M5 */
{
        unsigned guarded = 1u << s->hand, white = whites(r, s);

        if (!all_scanned(r, s))
                return true;
        if (!s->root_scanned)
                guarded |= 1u << s->root;
        for (int t = 0; t < r->bounds.threads; t++)
                guarded |= 1u << s->thread[t].old | 1u << (is_tying(s, t) ? s->thread[t].value : 0);
        for (int c = 1; s->kind == KIND_YOUNG && c <= r->bounds.cells; c++)
                for (int f = 0; f < r->bounds.fields; f++)
                        if (s->cell[c].noted >> f & 1)
                                guarded |= 1u << s->cell[c].field[f];
        for (int c = 1; c <= r->bounds.cells; c++) {
                int colour = s->cell[c].colour;

                if (colour >= GREY)
                        guarded |= fields_of(r, s, c, colour < BUFFERED ? colour - GREY : 0);
        }
        return !(reachable(r, s) & white & ~close_over_guards(r, s, guarded, white));
}

static bool is_about_to_note(const struct rules *r, const struct state *s, int c, int f)
{
        for (int t = 0; t < r->bounds.threads; t++) {
                const struct thread *thread = &s->thread[t];

                if (thread->op == OP_JOURNAL && thread->target == c && thread->field == f)
                        return true;
        }
        return false;
}

/* Between cycles a slot of an old object that leads to a young one is in the journal. */
static bool old_slots_are_noted(const struct rules *r, const struct state *s) /* M6 */
{
        if (s->kind != KIND_YOUNG || s->phase || any_armed(r, s))
                return true;
        for (int c = 1; c <= r->bounds.cells; c++) {
                for (int f = 0; s->cell[c].colour != WHITE && f < r->bounds.fields; f++) {
                        int ref = s->cell[c].field[f];

                        if (ref && state_is_white(s, ref) && !(s->cell[c].noted >> f & 1) &&
                            !is_about_to_note(r, s, c, f))
                                return false;
                }
        }
        return true;
}

const char *protocol_breach(const struct rules *r, const struct state *s)
{
        if (!heap_is_whole(r, s))
                return "M3: a live object, in reach or not, points to none";
        if (!marks_are_sound(r, s))
                return "M4: a mark is where none may be";
        if (!old_slots_are_noted(r, s))
                return "M6: an old object's slot leads to a young one and is not in the journal";
        if (!whites_are_guarded(r, s))
                return "M5: a white object in reach hangs on nothing grey";
        return NULL;
}

/* ---- Names -------------------------------------------------------------------------------- */

static void name_slot(char *buffer, size_t nbytes, int target, int f)
{
        if (target)
                snprintf(buffer, nbytes, "c%d.f%d", target, f);
        else
                snprintf(buffer, nbytes, "root");
}

static void name_ref(char *buffer, size_t nbytes, int ref)
{
        if (ref == POISON)
                snprintf(buffer, nbytes, "garbage");
        else if (ref)
                snprintf(buffer, nbytes, "c%d", ref);
        else
                snprintf(buffer, nbytes, "NULL");
}

static void name_cells(char *buffer, size_t nbytes, unsigned set)
{
        size_t used = 0;

        buffer[0] = 0;
        for (int c = 1; c <= MAX_CELLS && used < nbytes; c++)
                if (set >> c & 1)
                        used += (size_t)snprintf(buffer + used, nbytes - used, " c%d", c);
}

static void name_collector_step(struct step s, char *buffer, size_t nbytes)
{
        char cells[32], ref[16];

        name_ref(ref, sizeof ref, s.a);
        name_cells(cells, sizeof cells, s.b);
        switch ((enum verb)s.verb) {
        case DO_SWEEP:
                snprintf(buffer, nbytes, "sweeps %s", ref);
                return;
        case DO_ARM:
                snprintf(buffer, nbytes, "arms thread %c", 'A' + s.a);
                return;
        case DO_SETTLE:
                snprintf(buffer, nbytes, "sees thread %c outside Polder", 'A' + s.a);
                return;
        case DO_SCAN:
                snprintf(buffer, nbytes, "scans thread %c%s%s", 'A' + s.a,
                         s.b ? ", stale words:" : "", cells);
                return;
        case DO_SCAN_ROOT:
                snprintf(buffer, nbytes, "reads the root: %s", ref);
                return;
        case DO_TRACE:
                snprintf(buffer, nbytes, "traces c%d.f%d", s.a, s.b);
                return;
        case DO_SHADE_TRACED:
                snprintf(buffer, nbytes, "shades %s, which it had read", ref);
                return;
        case DO_FLIP_YOUNG:
                snprintf(buffer, nbytes, "stops all and flips; the next cycle is a young one");
                return;
        case DO_TURN_FULL:
                snprintf(buffer, nbytes, "makes the next cycle a full one");
                return;
        case DO_CLEAR:
                snprintf(buffer, nbytes, "clears the mark of %s", ref);
                return;
        case DO_SCAN_SLOT:
                snprintf(buffer, nbytes, "reads c%d.f%d, which is in the journal", s.a, s.b);
                return;
        case DO_BEGIN:
                snprintf(buffer, nbytes, "begins a cycle");
                return;
        case DO_TIE_TRACE:
                snprintf(buffer, nbytes, "looks at the ties of %s", ref);
                return;
        case DO_TIE_OLD:
                snprintf(buffer, nbytes, "looks at the ties of what is old");
                return;
        case DO_FLUSH_ROUND:
                snprintf(buffer, nbytes, "asks thread %c to flush", 'A' + s.a);
                return;
        default:
                snprintf(buffer, nbytes, "stops all and flips");
        }
}

static void name_thread_step(struct step s, char *buffer, size_t nbytes)
{
        char ref[16], slot[16], value[16];

        name_ref(ref, sizeof ref, s.a);
        name_slot(slot, sizeof slot, s.verb == DO_STORE || s.verb == DO_CAS ? s.a : s.b,
                  s.verb == DO_STORE || s.verb == DO_CAS ? s.b : s.c);
        name_ref(value, sizeof value, s.c);
        switch ((enum verb)s.verb) {
        case DO_DROP:
                snprintf(buffer, nbytes, "drops a reference");
                return;
        case DO_LOAD:
        case DO_LOAD_ROOT:
                snprintf(buffer, nbytes, "loads %s from %s", ref, slot);
                return;
        case DO_REFILL:
                snprintf(buffer, nbytes, "claims %s for its run", ref);
                return;
        case DO_NEW:
                snprintf(buffer, nbytes, "new object %s", ref);
                return;
        case DO_FILL:
                snprintf(buffer, nbytes, "plain %s = %s", slot, ref);
                return;
        case DO_STORE:
                snprintf(buffer, nbytes, "store(%s, %s): begins", slot, value);
                return;
        case DO_CAS:
                snprintf(buffer, nbytes, "compare_exchange(%s, ..., %s): begins", slot, value);
                return;
        case DO_SHADE_OLD:
        case DO_SHADE_NEW:
        case DO_SHADE_SWAPPED:
        case DO_SHADE_EXPECTED:
        case DO_SHADE_DESIRED:
                snprintf(buffer, nbytes, "... is past shading %s", ref);
                return;
        case DO_WRITE:
        case DO_SWAP:
        case DO_COMPARE:
                snprintf(buffer, nbytes, "... writes %s", ref);
                return;
        case DO_TIE_PUT:
                name_ref(slot, sizeof slot, s.b);
                snprintf(buffer, nbytes, "tie(owner %s, key %s, %s): has written", ref, slot,
                         value);
                return;
        case DO_TIE_FLAGS:
                snprintf(buffer, nbytes, "... has told owner and key");
                return;
        case DO_TIE_SHADE:
                snprintf(buffer, nbytes, "... is past shading %s and what was there", ref);
                return;
        case DO_TIE_GET:
                snprintf(buffer, nbytes, "reads %s from a tie", ref);
                return;
        case DO_TIE_GOT:
                snprintf(buffer, nbytes, "... takes %s", ref);
                return;
        case DO_NOTE:
                snprintf(buffer, nbytes, "... has noted the slot down, if it had to");
                return;
        default:
                snprintf(buffer, nbytes, "flushes its buffer");
        }
}

void protocol_name(struct step step, char *buffer, size_t nbytes)
{
        int used;

        if (step.actor == COLLECTOR)
                used = snprintf(buffer, nbytes, "collector ");
        else
                used = snprintf(buffer, nbytes, "thread %c  ", 'A' + step.actor);
        if (step.actor == COLLECTOR)
                name_collector_step(step, buffer + used, nbytes - (size_t)used);
        else
                name_thread_step(step, buffer + used, nbytes - (size_t)used);
}
