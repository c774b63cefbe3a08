/* why.c: what keeps an object alive.
 *
 * Between two collections and with all threads held, a search goes from the roots, nearest
 * objects first, until it has found the object (reach.c). The way back to a root is noted down
 * in memory of its own, the threads go on, and only then is anything written. It looks
 * at no mark and writes to none, so it cannot tell the next cycle anything wrong.
 *
 * W1  what keeps an object is asked in turns, each with more roots than the one before, so that
 *     a chain says what there is to be mended: first what a program has on record and other
 *     threads' stacks; then the slots of objects that have finalizers, which lead only to what
 *     is kept for a finalizer's sake; then the asker's own stack, since to ask about an object
 *     one must have it at hand; and then, of that stack, the words that lead to the object itself.
 * W2  Polder's own frames and registers may hold anything, and hold the object because they were
 *     asked about it. They lie below the asker's frame, and are passed over. What the asker
 *     has in its registers is saved before any of them is used.
 * W3  a holder's slot, and the chain's root, are looked up when the chain is known: nothing
 *     has moved since the search. */
#include "collector/why.h"

#include "collector/reach.h"
#include "collector/records.h"
#include "collector/request.h"
#include "collector/scan.h"
#include "collector/start.h"
#include "collector/thread.h"
#include "collector/tie.h"
#include "numa/meta_map.h"

#include <errno.h>
#include <polder/stats.h>

enum turn { ON_RECORD, BY_FINALIZERS, OWN_STACK, OWN_WORDS, NTURNS };

struct question {
        const struct pld_thread *self;  /* the asker; NULL: not attached */
        uintptr_t frame;                /* the asker's begins there (W2) */
        struct pld_registers registers; /* the asker's */
        enum turn turn;
        struct pld_reach reach;
        struct pld_why chain;
        int error;
};

/* ---- Which roots --------------------------------------------------------------------- */

/* A word on the stack that the asker stands on may be a fiber's, and so in a registered range. */
static bool is_the_askers(const struct question *question, const struct pld_root *root)
{
        const struct pld_thread *self = question->self;
        if (!self)
                return false;
        if (root->kind == PLD_ROOT_RANGE)
                return self->sp - root->holder < root->nbytes;
        return root->kind >= PLD_ROOT_STACK && root->thread == self->id;
}

/* W2. Of a fiber's stack nothing below the asker's frame counts. */
static bool is_ours(const struct question *question, const struct pld_root *root)
{
        uintptr_t registers = (uintptr_t)&question->registers;
        if (root->kind == PLD_ROOT_REGISTER)
                return root->slot - registers >= sizeof question->registers;
        uintptr_t low = root->kind == PLD_ROOT_RANGE ? root->holder : question->self->sp;
        return root->slot >= low && root->slot < question->frame;
}

/* The turn in which the root counts (W1); NTURNS: in none. */
static enum turn turn_of(const struct question *question, const struct pld_root *root)
{
        if (root->kind == PLD_ROOT_FINALIZABLE)
                return BY_FINALIZERS;
        if (!is_the_askers(question, root))
                return ON_RECORD;
        if (is_ours(question, root))
                return NTURNS;
        return pld_root_leads_to(root, question->chain.object) ? OWN_WORDS : OWN_STACK;
}

static void each_register(struct question *question, pld_root_visit visit)
{
        struct pld_root root = { .kind = PLD_ROOT_REGISTER, .thread = question->self->id };
        for (size_t i = 0; i < PLD_COUNT_OF(question->registers.word); i++) {
                root.slot = (uintptr_t)&question->registers.word[i];
                root.word = question->registers.word[i];
                visit(&root, question);
        }
}

static void each_root(struct question *question, pld_root_visit visit)
{
        pld_roots_each(visit, question);
        pld_records_each(visit, question);
        pld_threads_roots_each_locked(visit, question);
        if (question->self)
                each_register(question, visit);
}

/* ---- The search, with all threads held ------------------------------------------------- */

static void search_root(const struct pld_root *root, void *arg)
{
        struct question *question = arg;
        if (root->holder == question->chain.object) {
                question->chain.has_weak |= root->kind == PLD_ROOT_WEAK;
                question->chain.has_finalizer |= root->kind == PLD_ROOT_ARGUMENT;
        }
        if (turn_of(question, root) == question->turn)
                pld_reach_root(&question->reach, root);
}

static void compare(struct pld_reach *reach, struct pld_found found)
{
        struct question *question = reach->arg;
        reach->over = pld_span_object(found.span, found.index) == question->chain.object;
}

static int search(struct question *question)
{
        struct pld_reach *reach = &question->reach;
        int error = pld_reach_init(reach, compare, question);
        for (; !error && !reach->over && question->turn < NTURNS; question->turn++) {
                each_root(question, search_root);
                pld_reach_rest(reach);
                if (reach->over)
                        break;
        }
        if (error || reach->failed)
                return -ENOMEM;
        return reach->over ? 0 : -ENOENT;
}

/* ---- The way back ---------------------------------------------------------------------- */

struct link {
        struct pld_why_step *step;
        uintptr_t next;
        bool found;
};

static void find_slot(uintptr_t *slot, bool exact, void *arg)
{
        struct link *link = arg;
        (void)exact;
        if (link->found || !pld_word_leads_to(*slot, link->next))
                return;
        link->found = true;
        link->step->slot = (uintptr_t)slot;
        link->step->word = *slot;
}

static void find_tie(const struct pld_tie *tie, void *arg)
{
        struct link *link = arg;
        struct pld_why_step *step = link->step;
        uintptr_t word = pld_load_relaxed(&tie->value);
        if (link->found || !pld_word_leads_to(word, link->next))
                return;
        link->found = true;
        step->way = tie->key == step->object ? PLD_WHY_KEY : PLD_WHY_OWNER;
        step->other = step->way == PLD_WHY_KEY ? tie->owner->object : tie->key;
        step->word = word;
}

/* next: 0 for the last step. */
static void note_step(struct pld_why_step *step, uintptr_t object, uintptr_t next)
{
        struct pld_span *span = pld_span_of(object);
        struct link link = { step, next, !next };
        *step = (struct pld_why_step){ .object = object,
                               .nbytes = span->nbytes,
                               .shape = pld_shape_name(span->shape) };
        pld_object_each(span, object, find_slot, &link);
        pld_ties_each(object, find_tie, &link);
}

static void find_root(const struct pld_root *root, void *arg)
{
        struct question *question = arg;
        struct pld_root *found = &question->chain.root;
        if (turn_of(question, root) != question->turn ||
            !pld_root_leads_to(root, question->chain.step[0].object))
                return;
        /* A registered stack tells more as that of the thread which stands on it, even if words
         * below that thread's frames lead there, too. */
        if (!found->word || (root->kind == PLD_ROOT_OTHER_STACK && found->kind == PLD_ROOT_RANGE &&
                             root->slot - found->holder < found->nbytes))
                *found = *root;
}

static size_t length_of(const struct pld_reached *item, size_t last)
{
        size_t n = 1;
        for (; item[last].by != PLD_REACH_ROOT; last = item[last].by)
                n++;
        return n;
}

static int note_chain(struct question *question)
{
        struct pld_why *chain = &question->chain;
        const struct pld_reached *item = question->reach.item;
        size_t at = question->reach.n - 1, n = length_of(item, at);
        chain->step = pld_meta_map(n * sizeof *chain->step);
        if (!chain->step)
                return -ENOMEM;
        chain->nsteps = n;
        chain->own = question->turn >= OWN_STACK;
        uintptr_t next = 0;
        for (size_t i = n; i-- > 0; at = item[at].by) {
                note_step(&chain->step[i], item[at].object, next);
                next = item[at].object;
        }
        each_root(question, find_root); /* W3 */
        return 0;
}

static void ask(void *arg)
{
        struct question *question = arg;
        struct pld_found found = pld_find_object(question->chain.asked);
        if (!found.span) {
                question->error = -EINVAL; /* no more */
                return;
        }
        question->chain.object = pld_span_object(found.span, found.index);
        question->error = search(question);
        if (!question->error)
                question->error = note_chain(question);
}

static PLD_NOINLINE int answer(struct question *question, FILE *to)
{
        struct pld_why *chain = &question->chain;
        if (!pld_load_acquire(&pld_started) || !pld_find_object(chain->asked).span || !to)
                return -EINVAL;
        question->self = pld_thread_self();
        pld_request_hold(ask, question);
        pld_reach_free(&question->reach);
        int error = question->error;
        if (!error || error == -ENOENT)
                error = pld_why_print(chain, to) ? -EIO : error;
        if (chain->step)
                pld_meta_unmap(chain->step, chain->nsteps * sizeof *chain->step);
        return error;
}

PLD_NOINLINE int polder_why(const void *object, FILE *to)
{
        struct pld_registers registers;
        pld_registers_save(&registers); /* W2: before any is used */
        struct question question = { .frame = (uintptr_t)__builtin_dwarf_cfa(),
                                     .registers = registers,
                                     .chain.asked = (uintptr_t)object };
        return answer(&question, to);
}
