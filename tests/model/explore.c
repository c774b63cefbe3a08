/* explore.c: explicit-state search.
 *
 * The states lie in one array in the order of discovery, which is the queue of a breadth-first
 * search too; a hash table of indices tells whether a state is known. Each remembers the state
 * it was first reached from. As stored states are canonical, names change along such a path:
 * a trace is told by walking it again from the first state, with names that stay.
 *
 * E1  keys[0 .. at) have been expanded, keys[at .. n) are waiting; parents[i] < i but for 0.
 * E2  the table is at most half full, so probing ends.
 * E3  a known state has been judged: states of one key differ in names only, which nobody judges
 *     by, and in `fault`, which is no state's but the step's that led to it. */
#include "tests/model/explore.h"

#include <stdlib.h>

struct search {
        const struct rules *rules;
        bool invariants;
        struct key *keys;
        uint32_t *parents;
        size_t n, room, at, max_states;
        uint32_t *table; /* index + 1; 0: empty */
        size_t table_size;
        struct verdict verdict;
        struct key wrong_key; /* the state that verdict.wrong is about */
};

static void *grow(void *p, size_t count, size_t nbytes)
{
        p = realloc(p, count * nbytes);
        if (!p) {
                fprintf(stderr, "cycle_model: no memory for %zu states\n", count);
                exit(2);
        }
        return p;
}

static bool key_equal(struct key a, struct key b)
{
        return a.word[0] == b.word[0] && a.word[1] == b.word[1];
}

static size_t key_hash(struct key key)
{
        uint64_t h = key.word[0] * 0x9e3779b97f4a7c15u;

        h = (h ^ h >> 32) + key.word[1];
        h *= 0xd6e8feb86659fd93u;
        return (size_t)(h ^ h >> 32);
}

static uint32_t *find(const struct search *s, struct key key)
{
        size_t i = key_hash(key) & (s->table_size - 1);

        while (s->table[i] && !key_equal(s->keys[s->table[i] - 1], key))
                i = (i + 1) & (s->table_size - 1);
        return &s->table[i];
}

static void make_room(struct search *s)
{
        if (s->n < s->room)
                return;
        s->room = s->room ? s->room * 2 : 1 << 12;
        s->table_size = s->room * 2; /* E2 */
        s->keys = grow(s->keys, s->room, sizeof *s->keys);
        s->parents = grow(s->parents, s->room, sizeof *s->parents);
        s->table = grow(s->table, s->table_size, sizeof *s->table);
        for (size_t i = 0; i < s->table_size; i++)
                s->table[i] = 0;
        for (size_t i = 0; i < s->n; i++)
                *find(s, s->keys[i]) = (uint32_t)i + 1;
}

/* place: as of find(). */
static void discover(struct search *s, struct key key, size_t parent, uint32_t *place)
{
        s->keys[s->n] = key;
        s->parents[s->n] = (uint32_t)parent;
        *place = (uint32_t)++s->n;
}

static const char *judge(const struct search *s, const struct state *state)
{
        const char *wrong = protocol_loss(s->rules, state);

        if (!wrong && s->invariants)
                wrong = protocol_breach(s->rules, state);
        return wrong;
}

static void visit(void *arg, const struct state *next, struct step step)
{
        struct search *s = arg;
        struct key key;
        uint32_t *place;

        if (s->verdict.wrong)
                return;
        s->verdict.nsteps++;
        s->verdict.nflips += step.verb == DO_FLIP;
        key = state_pack(&s->rules->bounds, next);
        make_room(s);
        place = find(s, key);
        if (*place && !next->fault)
                return; /* E3 */
        s->verdict.wrong = judge(s, next);
        if (s->verdict.wrong)
                s->wrong_key = key;
        else
                discover(s, key, s->at, place);
}

/* ---- Telling the way to a fault ----------------------------------------------------------- */

struct retrace {
        const struct rules *rules;
        struct key wanted;
        bool wrong; /* the step wanted is the one that is not allowed to happen */
        bool found;
        struct state state;
        struct step step;
};

static void visit_again(void *arg, const struct state *next, struct step step)
{
        struct retrace *r = arg;

        if (r->found || !key_equal(state_pack(&r->rules->bounds, next), r->wanted))
                return;
        r->found = true;
        r->state = *next;
        r->step = step;
}

static void tell(const struct search *s, const struct key *path, int depth, FILE *to)
{
        struct retrace r = { .rules = s->rules };
        char name[96];

        state_init(&s->rules->bounds, &r.state);
        for (int i = 0; i < depth; i++) {
                struct state from = r.state;

                r.wanted = path[i];
                r.found = false;
                protocol_steps(s->rules, &from, visit_again, &r);
                if (!r.found) {
                        fprintf(to, "      (the trace is lost here: a bug of the model)\n");
                        return;
                }
                protocol_name(r.step, name, sizeof name);
                fprintf(to, "    %3d %s\n", i + 1, name);
        }
        fprintf(to, "        => %s\n", s->verdict.wrong);
}

static void find_path(struct search *s, FILE *trace)
{
        struct key *path;
        size_t i;

        s->verdict.depth = 1;
        for (i = s->at; i; i = s->parents[i])
                s->verdict.depth++;
        if (!trace)
                return;
        path = grow(NULL, (size_t)s->verdict.depth, sizeof *path);
        path[s->verdict.depth - 1] = s->wrong_key;
        i = s->at;
        for (int d = s->verdict.depth - 2; d >= 0; d--, i = s->parents[i])
                path[d] = s->keys[i];
        tell(s, path, s->verdict.depth, trace);
        free(path);
}

static void expand_all(struct search *s)
{
        size_t level_end = s->n;

        while (s->at < s->n && s->n < s->max_states) {
                struct state state;

                if (s->at == level_end) {
                        s->verdict.depth++;
                        level_end = s->n;
                }
                state_unpack(&s->rules->bounds, s->keys[s->at], &state);
                protocol_steps(s->rules, &state, visit, s);
                if (s->verdict.wrong)
                        return;
                s->at++;
        }
        s->verdict.complete = s->at == s->n;
}

struct verdict explore_all(const struct rules *rules, bool invariants, size_t max_states,
                           FILE *trace)
{
        struct search s = { .rules = rules, .invariants = invariants, .max_states = max_states };
        struct state first;
        struct key key;

        state_init(&rules->bounds, &first);
        make_room(&s);
        key = state_pack(&rules->bounds, &first);
        discover(&s, key, 0, find(&s, key));
        expand_all(&s);
        if (s.verdict.wrong)
                find_path(&s, trace);
        s.verdict.nstates = s.n;
        free(s.keys);
        free(s.parents);
        free(s.table);
        return s.verdict;
}

/* ---- Random walks ------------------------------------------------------------------------- */

struct walk {
        uint64_t rng;
        int actor; /* whose turn it is */
        unsigned seen;
        struct state next;
        struct step step;
};

static unsigned roll(uint64_t *rng, unsigned sides)
{
        *rng ^= *rng << 13;
        *rng ^= *rng >> 7;
        *rng ^= *rng << 17;
        return (unsigned)((*rng >> 32) % sides);
}

/* Keeps each of the steps seen with the same chance. */
static void visit_one(void *arg, const struct state *next, struct step step)
{
        struct walk *w = arg;

        if (step.actor != w->actor || roll(&w->rng, ++w->seen))
                return;
        w->next = *next;
        w->step = step;
}

struct verdict explore_walk(const struct rules *rules, uint64_t seed, size_t nsteps)
{
        struct walk w = { .rng = (seed + 1) * 0x9e3779b97f4a7c15u };
        struct verdict v = { .nsteps = 0 };
        struct state state;

        state_init(&rules->bounds, &state);
        while (v.nsteps < nsteps && !v.wrong) {
                w.actor = (int)roll(&w.rng, (unsigned)rules->bounds.threads + 1);
                if (w.actor == rules->bounds.threads)
                        w.actor = COLLECTOR;
                w.seen = 0;
                protocol_steps(rules, &state, visit_one, &w);
                if (!w.seen)
                        continue;
                state = w.next;
                v.nsteps++;
                v.nflips += w.step.verb == DO_FLIP;
                v.wrong = protocol_loss(rules, &state);
                if (!v.wrong)
                        v.wrong = protocol_breach(rules, &state);
        }
        return v;
}
