/* tie.c: ephemerons and weak tables in the model: a tie is an owner, a key, and a value that is
 * kept while both others are marked by other ways. The steps are those of collector/tie.c, and so
 * are T1 to T7, which the mutants' switches break where they stand.
 *
 * A tie is in a list of the state's, not on its key. One thread at a time puts or removes, as
 * under the lock there, and nothing is settled meanwhile; reading takes no lock. A key's `tied`
 * is of the cell, where the real one is of the span: the real one is up at least as often. */
#include "tests/model/steps.h"

static bool is_marked(const struct state *s, int ref)
{
        return ref && s->cell[ref].colour != WHITE;
}

static bool is_locked(const struct rules *r, const struct state *s)
{
        for (int t = 0; t < r->bounds.threads; t++)
                if (s->thread[t].op == OP_TIE_FLAGS || s->thread[t].op == OP_TIE_SHADE)
                        return true;
        return false;
}

/* ---- The program's ------------------------------------------------------------------------- */

static struct tie *find(const struct rules *r, struct state *s, int owner, int key)
{
        for (int i = 0; i < r->bounds.ties; i++)
                if (s->tie[i].owner == owner && s->tie[i].key == key)
                        return &s->tie[i];
        return NULL;
}

static struct tie *find_or_make(const struct rules *r, struct state *s, int owner, int key,
                                int value)
{
        struct tie *tie = find(r, s, owner, key);

        if (!tie && value)
                tie = find(r, s, 0, 0);
        if (tie) {
                tie->owner = (uint8_t)owner;
                tie->key = (uint8_t)key;
        }
        return tie;
}

static void leave(struct thread *t)
{
        t->op = OP_NONE;
        t->target = t->field = t->value = t->old = 0;
}

/* What a look-up or a removal brings goes into an empty slot: one step for each. */
static void give_slots(const struct maker *m, const struct state *next, int t, int value,
                       enum verb verb)
{
        for (int j = 0; j < m->rules->bounds.slots; j++) {
                struct state taken = *next;

                if (taken.thread[t].slot[j])
                        continue;
                taken.thread[t].slot[j] = (uint8_t)value;
                protocol_give(m, &taken, verb, t, value, 0, 0);
        }
}

static bool has_empty_slot(const struct rules *r, const struct thread *t)
{
        for (int j = 0; j < r->bounds.slots; j++)
                if (!t->slot[j])
                        return true;
        return false;
}

/* The value is written; flags and shading follow (T2). */
static void begin_put(const struct maker *m, int t, int owner, int key, int value)
{
        const struct rules *r = m->rules;
        struct state next = *m->from;
        struct thread *thread = &next.thread[t];
        struct tie *tie;

        if (is_locked(r, m->from) || (!value && !has_empty_slot(r, thread)))
                return;
        tie = find_or_make(r, &next, owner, key, value);
        if (!tie || tie->value == value)
                return;
        thread->newest = 0;
        thread->field = (uint8_t)(tie - next.tie);
        thread->value = (uint8_t)value;
        thread->old = tie->value;
        thread->op = is_broken(r, MUTANT_TIE_FLAGS_LATE) ? OP_TIE_SHADE : OP_TIE_FLAGS;
        tie->value = (uint8_t)value;
        protocol_give(m, &next, DO_TIE_PUT, t, owner, key, value);
}

static void raise_flags(const struct rules *r, struct state *s, const struct tie *tie)
{
        if (!is_broken(r, MUTANT_TIE_KEY_UNTOLD))
                s->cell[tie->key].tied = 1;
        if (!is_broken(r, MUTANT_TIE_OWNER_UNTOLD))
                s->cell[tie->owner].tied = 1;
}

static void end_put(const struct maker *m, struct state *next, int t, enum verb verb)
{
        int old = next->thread[t].old, value = next->thread[t].value;

        leave(&next->thread[t]);
        if (value || !old)
                protocol_give(m, next, verb, t, value, 0, 0);
        else
                give_slots(m, next, t, old, verb);
}

static void flags_step(const struct maker *m, int t)
{
        struct state next = *m->from;
        struct thread *thread = &next.thread[t];

        raise_flags(m->rules, &next, &next.tie[thread->field]);
        thread->op = OP_TIE_SHADE;
        if (is_broken(m->rules, MUTANT_TIE_FLAGS_LATE))
                end_put(m, &next, t, DO_TIE_FLAGS);
        else
                protocol_give(m, &next, DO_TIE_FLAGS, t, 0, 0, 0);
}

static bool puts_shade(const struct rules *r, const struct state *s, int t)
{
        if (is_broken(r, MUTANT_TIE_PUT_ASKS_ITSELF))
                return s->thread[t].armed;
        return s->phase;
}

static void shade_step(const struct maker *m, int t)
{
        const struct rules *r = m->rules;
        struct state next = *m->from;
        struct thread *thread = &next.thread[t];
        bool removes = !thread->value;

        if (puts_shade(r, m->from, t)) {
                if (!is_broken(r, MUTANT_TIE_PUT_UNSHADED))
                        shade_by(&next, t, thread->value);
                if (removes ? !is_broken(r, MUTANT_TIE_REMOVED_UNSHADED)
                            : !is_broken(r, MUTANT_TIE_READ_UNSHADED))
                        shade_by(&next, t, thread->old);
        }
        if (is_broken(r, MUTANT_TIE_FLAGS_LATE)) {
                thread->op = OP_TIE_FLAGS;
                protocol_give(m, &next, DO_TIE_SHADE, t, thread->value, 0, 0);
        } else {
                end_put(m, &next, t, DO_TIE_SHADE);
        }
}

static void begin_get(const struct maker *m, int t, int owner, int key)
{
        struct state next = *m->from;
        struct thread *thread = &next.thread[t];
        const struct tie *tie = find(m->rules, &next, owner, key);

        if (!tie || !tie->value || !has_empty_slot(m->rules, thread))
                return;
        thread->newest = 0;
        if (thread->armed && state_is_white(&next, tie->value)) {
                thread->op = OP_TIE_GOT;
                thread->old = tie->value;
                protocol_give(m, &next, DO_TIE_GET, t, tie->value, 0, 0);
        } else {
                give_slots(m, &next, t, tie->value, DO_TIE_GET);
        }
}

static void got_step(const struct maker *m, int t)
{
        struct state next = *m->from;
        int value = next.thread[t].old;

        if (!is_broken(m->rules, MUTANT_TIE_READ_UNSHADED))
                shade_by(&next, t, value);
        leave(&next.thread[t]);
        give_slots(m, &next, t, value, DO_TIE_GOT);
}

bool tie_inside_step(const struct maker *m, int t)
{
        switch ((enum op)m->from->thread[t].op) {
        case OP_TIE_FLAGS:
                flags_step(m, t);
                return true;
        case OP_TIE_SHADE:
                shade_step(m, t);
                return true;
        case OP_TIE_GOT:
                got_step(m, t);
                return true;
        default:
                return false;
        }
}

/* Owner and key are at hand, or in the root. */
void tie_program_steps(const struct maker *m, int t)
{
        const struct thread *thread = &m->from->thread[t];
        int n = m->rules->bounds.slots;

        for (int i = 0; m->rules->bounds.ties && i <= n; i++) {
                int owner = i < n ? thread->slot[i] : m->from->root;

                for (int j = 0; owner && j <= n; j++) {
                        int key = j < n ? thread->slot[j] : m->from->root;

                        if (!key || key == owner)
                                continue;
                        begin_get(m, t, owner, key);
                        begin_put(m, t, owner, key, 0);
                        for (int k = 0; k < n; k++)
                                if (thread->slot[k] && thread->slot[k] != owner &&
                                    (thread->slot[k] != key || m->rules->own_key))
                                        begin_put(m, t, owner, key, thread->slot[k]);
                }
        }
}

/* ---- The collector's ----------------------------------------------------------------------- */

/* Shades the value if both ends are marked; one at a time is in the worker's hand. */
static void trigger(struct state *s, const struct tie *tie)
{
        if (!is_marked(s, tie->owner) || !is_marked(s, tie->key) || !tie->value)
                return;
        if (s->hand)
                protocol_shade(s, tie->value, GREY);
        else
                s->hand = tie->value;
}

static void item_steps(const struct maker *m)
{
        const struct rules *r = m->rules;
        bool may = protocol_all_scanned(r, m->from); /* T1 */

        for (int c = 1; may && !m->from->hand && c <= r->bounds.cells; c++) {
                struct state next = *m->from;
                struct cell *cell = &next.cell[c];

                if (!cell->item || cell->colour >= BUFFERED)
                        continue;
                cell->item = 0;
                for (int i = 0; i < r->bounds.ties; i++) {
                        const struct tie *tie = &next.tie[i];

                        if ((tie->key == c && !is_broken(r, MUTANT_TIE_KEYS_TRIGGER_NOTHING)) ||
                            (tie->owner == c && !is_broken(r, MUTANT_TIE_OWNERS_TRIGGER_NOTHING)))
                                trigger(&next, tie);
                }
                protocol_give(m, &next, DO_TIE_TRACE, COLLECTOR, c, 0, 0);
        }
}

/* Of a young cycle: ends that are old were not queued. */
static void old_step(const struct maker *m)
{
        const struct rules *r = m->rules;
        struct state next = *m->from;

        if (next.kind != KIND_YOUNG || next.looked || next.hand || !next.phase)
                return;
        if (!protocol_all_scanned(r, m->from))
                return;
        next.looked = 1;
        for (int i = 0; i < r->bounds.ties && !is_broken(r, MUTANT_TIE_OLD_UNSEEN); i++)
                trigger(&next, &next.tie[i]);
        protocol_give(m, &next, DO_TIE_OLD, COLLECTOR, 0, 0, 0);
}

void tie_collector_steps(const struct maker *m)
{
        if (!m->rules->bounds.ties)
                return;
        item_steps(m);
        old_step(m);
}

bool tie_may_settle(const struct rules *r, const struct state *s)
{
        return !r->bounds.ties || !is_locked(r, s);
}

/* Whoever sweeps the cell c cuts the ties of which it is the key, or says that an owner is dead:
 * marks are not yet adopted. */
void tie_settle(const struct rules *r, struct state *s, int c)
{
        bool lives = is_marked(s, c), any = false;

        for (int i = 0; i < r->bounds.ties; i++) {
                struct tie *tie = &s->tie[i];

                if (tie->owner == c && !lives && !is_broken(r, MUTANT_TIE_OWNER_NOT_BURIED))
                        tie->owner = 0;
                if (tie->key == c && (!tie->owner || !tie->value ||
                                      (!lives && !is_broken(r, MUTANT_TIE_NOT_CUT))))
                        *tie = (struct tie){ 0, 0, 0 };
                any |= tie->key == c || tie->owner == c;
        }
        s->cell[c].tied &= any && !is_broken(r, MUTANT_TIE_FLAG_LOST);
}
