/* protocol.c: what the program's steps and the collector's have in common.
 *
 * A step is what no other thread can see half done. A local decision is no step of its own: an
 * operation begins with the first thing it does to shared memory, and a shading that finds its
 * mark set (marks only ever get set until the flip) is passed over at once.
 *
 * P1  a thread with op != OP_NONE is inside Polder: its handshakes and the stop wait for it.
 * P2  while a thread is inside Polder its slots, armed and scanned do not change.
 * P3  a function that makes a step copies the state, changes the copy and gives it to
 *     protocol_give(); nothing changes the original. */
#include "tests/model/steps.h"

bool protocol_all_armed(const struct rules *r, const struct state *s)
{
        for (int t = 0; t < r->bounds.threads; t++)
                if (!s->thread[t].armed || (r->settle && !s->thread[t].settled))
                        return false;
        return true;
}

bool protocol_any_armed(const struct rules *r, const struct state *s)
{
        for (int t = 0; t < r->bounds.threads; t++)
                if (s->thread[t].armed)
                        return true;
        return false;
}

bool protocol_is_idle(const struct rules *r, const struct state *s)
{
        return !s->phase && !protocol_any_armed(r, s);
}

bool protocol_all_scanned(const struct rules *r, const struct state *s)
{
        for (int t = 0; t < r->bounds.threads; t++)
                if (!s->thread[t].scanned)
                        return false;
        return true;
}

bool protocol_any_buffered(const struct rules *r, const struct state *s, int thread)
{
        for (int c = 1; c <= r->bounds.cells; c++)
                if (s->cell[c].colour >= BUFFERED &&
                    (thread == COLLECTOR || s->cell[c].colour == BUFFERED + thread))
                        return true;
        return false;
}

bool protocol_any_words(const struct rules *r, const struct state *s, int thread)
{
        for (int c = 1; c <= r->bounds.cells; c++)
                if (thread == COLLECTOR ? s->cell[c].words : s->cell[c].words >> thread & 1)
                        return true;
        return false;
}

static bool holds(const struct rules *r, const struct thread *t, int ref)
{
        for (int j = 0; j < r->bounds.slots; j++)
                if (t->slot[j] == ref)
                        return true;
        return false;
}

/* Passes over what has become idle: registers that nobody will read, marks already set. */
static void settle_idle(const struct rules *r, struct state *s)
{
        for (int t = 0; r->lean && t < r->bounds.threads; t++)
                protocol_give_away(r, s, t);
        for (int c = 1; c <= r->bounds.cells; c++)
                if (s->cell[c].colour != WHITE)
                        s->cell[c].words = 0;
        if (s->hand && s->cell[s->hand].colour != WHITE)
                s->hand = 0;
        for (int i = 0; i < r->bounds.threads; i++) {
                struct thread *t = &s->thread[i];
                bool filled = true;

                if (t->op == OP_SWAPPED && !state_is_white(s, t->old)) {
                        t->op = OP_NONE;
                        t->old = 0;
                }
                if (t->op == OP_JOURNAL && !is_broken(r, MUTANT_NOTES_VALUES_AGE) &&
                    !is_young(r, s, t->value)) {
                        t->op = OP_NONE;
                        t->target = t->field = t->value = 0;
                }
                if (t->op == OP_NEW && !state_is_white(s, t->value))
                        t->op = OP_WRITE;
                for (int f = 0; t->newest && f < r->bounds.fields; f++)
                        filled &= s->cell[t->newest].field[f] != 0;
                if (t->newest && !is_broken(r, MUTANT_PLAIN_OVERWRITE) && filled)
                        t->newest = 0;
                if (t->newest && !holds(r, t, t->newest))
                        t->newest = 0;
        }
}

void protocol_give(const struct maker *m, struct state *next, enum verb verb, int actor, int a,
                   int b, int c)
{
        struct step step = { (uint8_t)verb, (uint8_t)actor, (uint8_t)a, (uint8_t)b, (uint8_t)c };

        if (!next->fault)
                settle_idle(m->rules, next);
        m->visit(m->arg, next, step);
}

/* Marks and queues; a reference that was read by layout must be an object's. */
void protocol_shade(struct state *s, int ref, int colour)
{
        if (!state_is_white(s, ref))
                return;
        if (ref == POISON)
                s->fault = "M2: memory that nobody zeroed was read as a reference";
        else if (!state_is_object(s, ref))
                s->fault = "M2: a cell that is no object was marked";
        else
                protocol_mark(&s->cell[ref], colour);
}

void protocol_mark(struct cell *cell, int colour)
{
        cell->colour = (uint8_t)colour;
        cell->item = cell->tied;
}

void protocol_shade_words(const struct rules *r, struct state *s, int t)
{
        for (int c = 1; c <= r->bounds.cells; c++) {
                if (!(s->cell[c].words >> t & 1))
                        continue;
                s->cell[c].words &= (uint8_t)~(1u << t);
                shade_by(s, t, c);
        }
}

void protocol_give_away(const struct rules *r, struct state *s, int t)
{
        for (int c = 1; c <= r->bounds.cells; c++)
                if (s->cell[c].colour == BUFFERED + t)
                        s->cell[c].colour = GREY;
}

void protocol_forget_words(const struct rules *r, struct state *s, int t)
{
        for (int c = 1; c <= r->bounds.cells; c++)
                s->cell[c].words &= (uint8_t)~(1u << t);
}

void protocol_drop_buffer(const struct rules *r, struct state *s, int t)
{
        for (int c = 1; c <= r->bounds.cells; c++)
                if (s->cell[c].colour == BUFFERED + t)
                        s->cell[c].colour = BLACK;
}

void protocol_steps(const struct rules *rules, const struct state *state, protocol_visit visit,
                    void *arg)
{
        struct maker m = { rules, state, visit, arg };

        collector_steps(&m);
        for (int t = 0; t < rules->bounds.threads; t++)
                program_steps(&m, t);
}
