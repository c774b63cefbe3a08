/* steps.h: what makes one step of the protocol; for program.c, collector.c and protocol.c. */
#ifndef MODEL_STEPS_H
#define MODEL_STEPS_H

#include "tests/model/protocol.h"

struct maker {
        const struct rules *rules;
        const struct state *from;
        protocol_visit visit;
        void *arg;
};

/* Everything thread t, or the collector, can do next. */
void program_steps(const struct maker *m, int t);
void collector_steps(const struct maker *m);

/* tie.c's part of both; of a thread inside Polder false: it does nothing with ties. */
void tie_program_steps(const struct maker *m, int t);
bool tie_inside_step(const struct maker *m, int t);
void tie_collector_steps(const struct maker *m);
/* Before the cell's marks are adopted by a sweep. */
void tie_settle(const struct rules *r, struct state *s, int c);
bool tie_may_settle(const struct rules *r, const struct state *s);

/* Passes the changed copy on, under the name of the step. */
void protocol_give(const struct maker *m, struct state *next, enum verb verb, int actor, int a,
                   int b, int c);

/* Marks and queues: gives a white object the colour. A reference that was read by layout must
 * be an object's; anything else is a fault of the state. */
void protocol_shade(struct state *s, int ref, int colour);

void protocol_mark(struct cell *cell, int colour);

/* Shades what the thread has noted; gives its buffer to the workers. A flush does both. */
void protocol_shade_words(const struct rules *r, struct state *s, int t);
void protocol_give_away(const struct rules *r, struct state *s, int t);
/* What mutants do instead. */
void protocol_forget_words(const struct rules *r, struct state *s, int t);
void protocol_drop_buffer(const struct rules *r, struct state *s, int t);
bool protocol_any_words(const struct rules *r, const struct state *s, int thread);
bool protocol_any_buffered(const struct rules *r, const struct state *s, int thread);
bool protocol_all_armed(const struct rules *r, const struct state *s); /* and settled, if asked */
bool protocol_all_scanned(const struct rules *r, const struct state *s);

static inline bool is_broken(const struct rules *r, enum mutant mutant)
{
        return r->mutant == mutant;
}

/* A mark between cycles: what has survived a flip, and was not born in its cycle. */
static inline bool is_old(const struct state *s, int ref)
{
        return ref && ref != POISON && s->cell[ref].colour != WHITE && !s->cell[ref].born;
}

/* A value that a store between cycles may have to note down. */
static inline bool is_young(const struct rules *r, const struct state *s, int ref)
{
        if (state_is_white(s, ref))
                return true;
        return s->cell[ref].born && !is_broken(r, MUTANT_UNSWEPT_BIRTH_IS_OLD);
}

/* What the thread makes from now on is young after the flip. */
static inline bool births_are_young(const struct rules *r, const struct state *s,
                                    const struct thread *t)
{
        return r->bounds.births && s->kind == KIND_YOUNG && t->scanned;
}

/* No cycle is under way. */
bool protocol_is_idle(const struct rules *r, const struct state *s);
bool protocol_any_armed(const struct rules *r, const struct state *s);

static inline void shade_by(struct state *s, int thread, int ref)
{
        protocol_shade(s, ref, BUFFERED + thread);
}

#endif
