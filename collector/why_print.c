/* why_print.c: a chain of holders, for people to read: a line for the root, then one for each
 * object, with the place that leads to the next; long rows of like objects are cut short. */
#include "collector/why.h"

#include <dlfcn.h>
#include <errno.h>

/* Into the next object, if not to its first byte. */
static void print_inside(FILE *to, uintptr_t word, const struct pld_why_step *next)
{
        if (word == next->object + next->nbytes)
                fprintf(to, " (the end of the next)");
        else if (word != next->object)
                fprintf(to, " (%zu bytes into the next)", (size_t)(word - next->object));
}

/* The variable that a range lies in, where that can be known. */
static void print_name(FILE *to, uintptr_t at)
{
        Dl_info info;
        if (!dladdr((void *)at, &info) || !info.dli_fname)
                return;
        if (info.dli_sname)
                fprintf(to, " (%s of %s)", info.dli_sname, info.dli_fname);
        else
                fprintf(to, " (of %s)", info.dli_fname);
}

static void print_thread_root(FILE *to, const struct pld_why *chain)
{
        static const char *const places[] = { "stack", "other stack that it stands on", "registers",
                                              "newest object" };
        const struct pld_root *root = &chain->root;
        const char *place = places[root->kind - PLD_ROOT_STACK];
        fprintf(to, "  %s %d: its %s", chain->own ? "calling thread" : "thread", (int)root->thread, place);
        if (root->kind <= PLD_ROOT_OTHER_STACK)
                fprintf(to, ", at %p", (void *)root->slot);
        if (chain->own)
                fprintf(to, "; nothing else leads there");
}

static void print_record_root(FILE *to, const struct pld_root *root)
{
        switch (root->kind) {
        case PLD_ROOT_WEAK:
                fprintf(to, "  weak reference, which stays as long as its object %p",
                        (void *)root->holder);
                break;
        case PLD_ROOT_ARGUMENT:
                fprintf(to, "  argument of the finalizer of object %p", (void *)root->holder);
                break;
        case PLD_ROOT_READY:
                fprintf(to, "  finalizer that is about to be called");
                break;
        default:
                fprintf(to, "  object %p, which has a finalizer: its slot at +%zu",
                        (void *)root->holder, (size_t)(root->slot - root->holder));
        }
}

static void print_root(FILE *to, const struct pld_why *chain)
{
        const struct pld_root *root = &chain->root;
        switch (root->kind) {
        case PLD_ROOT_RANGE:
                fprintf(to, "  root %p, %zu bytes", (void *)root->holder, root->nbytes);
                print_name(to, root->slot);
                fprintf(to, ": its word at +%zu", (size_t)(root->slot - root->holder));
                break;
        case PLD_ROOT_PIN:
                fprintf(to, "  pinned, %u times", root->count);
                break;
        case PLD_ROOT_UNCOLLECTABLE:
                fprintf(to, "  uncollectable until polder_free()");
                break;
        case PLD_ROOT_WEAK:
        case PLD_ROOT_ARGUMENT:
        case PLD_ROOT_READY:
        case PLD_ROOT_FINALIZABLE:
                print_record_root(to, root);
                break;
        default:
                print_thread_root(to, chain);
        }
        print_inside(to, root->word, &chain->step[0]);
        fputc('\n', to);
}

static void print_step(FILE *to, const struct pld_why_step *step, bool last)
{
        fprintf(to, "  object %p, %zu bytes, %s", (void *)step->object, step->nbytes, step->shape);
        if (last)
                return;
        if (step->way == PLD_WHY_SLOT)
                fprintf(to, ": its slot at +%zu", (size_t)(step->slot - step->object));
        else if (step->way == PLD_WHY_KEY)
                fprintf(to, ": the key of a value in ephemeron or weak table %p", (void *)step->other);
        else
                fprintf(to, ", ephemeron or weak table: its value for key %p", (void *)step->other);
        print_inside(to, step->word, step + 1);
}

static bool are_alike(const struct pld_why_step *a, const struct pld_why_step *b)
{
        return a->nbytes == b->nbytes && a->shape == b->shape && a->way == PLD_WHY_SLOT &&
               b->way == PLD_WHY_SLOT && a->slot - a->object == b->slot - b->object;
}

/* Of a row of objects like this one, a list for instance, the last; neither is the chain's end. */
static size_t end_of_row(const struct pld_why *chain, size_t i)
{
        while (i + 2 < chain->nsteps && are_alike(&chain->step[i], &chain->step[i + 1]))
                i++;
        return i;
}

static void print_chain(FILE *to, const struct pld_why *chain)
{
        print_root(to, chain);
        for (size_t i = 0; i < chain->nsteps; i++) {
                print_step(to, &chain->step[i], i + 1 == chain->nsteps);
                fputc('\n', to);
                size_t end = end_of_row(chain, i);
                if (end - i < 3)
                        continue;
                fprintf(to, "  ... and %zu more like it\n", end - i - 1);
                i = end - 1;
        }
}

static void print_unreachable(FILE *to, const struct pld_why *chain)
{
        fprintf(to, "  nothing: the next full collection takes it%s%s\n",
                chain->has_weak ? ", a weak reference is cleared" : "",
                chain->has_finalizer ? ", after its finalizer was called" : "");
}

int pld_why_print(const struct pld_why *chain, FILE *to)
{
        fprintf(to, "polder: what keeps %p", (void *)chain->object);
        if (chain->asked != chain->object)
                fprintf(to, ", in which %p lies", (void *)chain->asked);
        fputs(":\n", to);
        if (chain->nsteps)
                print_chain(to, chain);
        else
                print_unreachable(to, chain);
        return fflush(to) || ferror(to) ? -EIO : 0;
}
