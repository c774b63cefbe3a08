/* judge.c: what is wrong with a state, and what a step is called.
 *
 * protocol_loss() is the promise to the program and is asked of every protocol, mutants too;
 * protocol_breach() is how the correct one keeps it, and the place where an explanation that
 * is not true would show. The numbers are those of the essay in cycle_model.c. */
#include "tests/model/protocol.h"

#include <stdarg.h>
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
        for (int c = 1; c <= r->bounds.cells; c++)
                guarded |= (unsigned)(s->cell[c].words != 0) << c;
        for (int c = 1; s->kind == KIND_YOUNG && c <= r->bounds.cells; c++)
                guarded |= (unsigned)s->cell[c].wanted << c;
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
                bool old = s->cell[c].colour != WHITE && !s->cell[c].born;

                for (int f = 0; old && f < r->bounds.fields; f++) {
                        int ref = s->cell[c].field[f];

                        if (ref && (state_is_white(s, ref) || s->cell[ref].born) &&
                            !(s->cell[c].noted >> f & 1) && !s->cell[ref].wanted &&
                            !is_about_to_note(r, s, c, f))
                                return false;
                }
        }
        return true;
}

/* Between its arming and the flip a thread may have noted something. */
static bool words_are_in_time(const struct rules *r, const struct state *s) /* M7 */
{
        for (int c = 1; c <= r->bounds.cells; c++)
                for (int t = 0; t < r->bounds.threads; t++)
                        if (s->cell[c].words >> t & 1 &&
                            !(s->thread[t].armed && state_is_object(s, c)))
                                return false;
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
        if (!words_are_in_time(r, s))
                return "M7: a noted word is no object's, or its thread's cycle is over";
        if (!whites_are_guarded(r, s))
                return "M5: a white object in reach hangs on nothing grey";
        return NULL;
}

/* ---- Names -------------------------------------------------------------------------------- */

/* $a, $b, $c: a step's references; $t: the thread a; $x: the slot b of a, $y: the slot c of b;
 * $w: stale words, if there are any. */
static const char *const sayings[] = {
        [DO_SWEEP] = "sweeps $a",
        [DO_ARM] = "arms thread $t",
        [DO_SETTLE] = "sees thread $t outside Polder",
        [DO_SCAN] = "scans thread $t$w",
        [DO_SCAN_ROOT] = "reads the root: $a",
        [DO_TRACE] = "traces $x",
        [DO_SHADE_TRACED] = "shades $a, which it had read",
        [DO_FLIP] = "stops all and flips",
        [DO_FLIP_YOUNG] = "stops all and flips; the next cycle is a young one",
        [DO_TURN_FULL] = "makes the next cycle a full one",
        [DO_CLEAR] = "clears the mark of $a",
        [DO_SCAN_SLOT] = "reads $x, which is in the journal",
        [DO_SCAN_WANTED] = "takes $a, which something older refers to",
        [DO_BEGIN] = "begins a cycle",
        [DO_TIE_TRACE] = "looks at the ties of $a",
        [DO_TIE_OLD] = "looks at the ties of what is old",
        [DO_FLUSH_ROUND] = "asks thread $t to flush",
        [DO_DROP] = "drops a reference",
        [DO_LOAD] = "loads $a from $y",
        [DO_LOAD_ROOT] = "loads $a from $y",
        [DO_REFILL] = "claims $a for its run",
        [DO_NEW] = "new object $a",
        [DO_FILL] = "plain $y = $a",
        [DO_STORE] = "store($x, $c): begins",
        [DO_CAS] = "compare_exchange($x, ..., $c): begins",
        [DO_SHADE_OLD] = "... is past shading $a",
        [DO_SHADE_NEW] = "... is past shading $a",
        [DO_SHADE_SWAPPED] = "... is past shading $a",
        [DO_SHADE_EXPECTED] = "... is past shading $a",
        [DO_SHADE_DESIRED] = "... is past shading $a",
        [DO_WRITE] = "... writes $a",
        [DO_SWAP] = "... writes $a",
        [DO_COMPARE] = "... writes $a",
        [DO_TIE_PUT] = "tie(owner $a, key $b, $c): has written",
        [DO_TIE_FLAGS] = "... has told owner and key",
        [DO_TIE_SHADE] = "... is past shading $a and what was there",
        [DO_TIE_GET] = "reads $a from a tie",
        [DO_TIE_GOT] = "... takes $a",
        [DO_NOTE] = "... has noted the slot down, if it had to",
        [DO_FLUSH] = "flushes its buffer, and shades what it noted first",
        [DO_SHADE_WORD] = "shades $a, which it had noted",
        [DO_DETACH] = "detaches; another one attaches",
};

struct text {
        char *buffer;
        size_t nbytes, used;
};

static __attribute__((format(printf, 2, 3))) void add(struct text *text, const char *format, ...)
{
        va_list list;

        va_start(list, format);
        if (text->used < text->nbytes)
                text->used += (size_t)vsnprintf(text->buffer + text->used,
                                                text->nbytes - text->used, format, list);
        va_end(list);
}

static void add_ref(struct text *text, int ref)
{
        if (ref == POISON)
                add(text, "garbage");
        else if (ref)
                add(text, "c%d", ref);
        else
                add(text, "NULL");
}

static void add_slot(struct text *text, int target, int f)
{
        if (target)
                add(text, "c%d.f%d", target, f);
        else
                add(text, "root");
}

static void add_stale_words(struct text *text, unsigned set)
{
        if (set)
                add(text, ", stale words:");
        for (int c = 1; c <= MAX_CELLS; c++)
                if (set >> c & 1)
                        add(text, " c%d", c);
}

static void add_part(struct text *text, struct step s, char part)
{
        switch (part) {
        case 'a':
                add_ref(text, s.a);
                break;
        case 'b':
                add_ref(text, s.b);
                break;
        case 'c':
                add_ref(text, s.c);
                break;
        case 't':
                add(text, "%c", 'A' + s.a);
                break;
        case 'x':
                add_slot(text, s.a, s.b);
                break;
        case 'y':
                add_slot(text, s.b, s.c);
                break;
        default:
                add_stale_words(text, s.b);
        }
}

void protocol_name(struct step step, char *buffer, size_t nbytes)
{
        struct text text = { buffer, nbytes, 0 };

        if (step.actor == COLLECTOR)
                add(&text, "collector ");
        else
                add(&text, "thread %c  ", 'A' + step.actor);
        for (const char *says = sayings[step.verb]; *says; says++) {
                if (*says == '$')
                        add_part(&text, step, *++says);
                else
                        add(&text, "%c", *says);
        }
}
