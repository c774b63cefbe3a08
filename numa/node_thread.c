#include "numa/node_thread.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/futex.h"
#include "numa/os.h"

#include <limits.h>

#define STACK_BYTES ((size_t)256 << 10)

enum { TOUCHED_BYTES = 32 << 10 };

/* On the creator's stack until the new thread has taken it over. */
struct birth {
        unsigned node;
        const char *name;
        void *(*fn)(void *);
        void *arg;
        _Atomic uint32_t taken;
};

/* So that nothing the thread does later takes a page fault for it. */
static PLD_NOINLINE void touch_stack(void)
{
        volatile char stack[TOUCHED_BYTES];
        for (size_t i = 0; i < sizeof stack; i += 1024)
                stack[i] = 0;
}

static void *live(void *raw)
{
        struct birth *birth = raw;
        const struct pld_node *node = &pld_machine.node[birth->node];
        void *(*fn)(void *) = birth->fn;
        void *arg = birth->arg;
        cpu_set_t cpus;
        /* Callbacks of the program's may run on it, and give its name away. */
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        if (node->ncpus > 0)
                cpus = node->cpus;
        else if (pld_os->cpus_allowed(&cpus) != 0)
                CPU_ZERO(&cpus);
        pld_os->thread_settle(birth->name, &cpus);
        pld_store_release(&birth->taken, 1); /* pairs with the creator's acquire */
        pld_futex_wake(&birth->taken, 1);    /* of an address, perhaps no longer a birth's */
        touch_stack();
        return fn(arg);
}

int pld_node_thread_start(pthread_t *out, unsigned node, const char *name, void *(*fn)(void *),
                          void *arg)
{
        struct birth birth = { .node = node, .name = name, .fn = fn, .arg = arg };
        int error = pld_os->thread_create(out, STACK_BYTES, live, &birth);
        if (error)
                return error;
        while (!pld_load_acquire(&birth.taken))
                pld_futex_wait(&birth.taken, 0, 0);
        return 0;
}

static void *each_one(void *raw)
{
        struct pld_each_one *one = raw;
        struct pld_each *job = one->job;
        job->fn(one->node, job->arg);
        if (pld_sub_acq_rel(&job->running, 1) == 1) /* releases the work to the waiters */
                pld_futex_wake(&job->running, INT_MAX);
        return NULL;
}

unsigned pld_each_node(void (*fn)(unsigned node, void *arg), void *arg, struct pld_each *job)
{
        unsigned here = 0, n = pld_machine.nnodes;
        job->fn = fn;
        job->arg = arg;
        pld_store_relaxed(&job->running, n); /* threads are made after it */
        for (unsigned node = 0; node < n; node++) {
                pthread_t thread;
                job->one[node] = (struct pld_each_one){ .job = job, .node = node };
                if (pld_node_thread_start(&thread, node, "polder-each", each_one,
                                          &job->one[node]) == 0) {
                        pthread_detach(thread);
                        continue;
                }
                each_one(&job->one[node]);
                here++;
        }
        return here;
}

void pld_each_wait(struct pld_each *job)
{
        uint32_t running;
        while ((running = pld_load_acquire(&job->running)) != 0) /* pairs with each_one() */
                pld_futex_wait(&job->running, running, 0);
}
