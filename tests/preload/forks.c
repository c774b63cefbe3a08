/* forks.c: fork() while sixteen threads allocate and free. Each child allocates,
 * frees what the parent's threads allocated, makes a thread that does too, and
 * ends. A child that is not done after a minute is stuck. While one is waited for the
 * threads rest: what they did meanwhile could not matter to it, and each page that they write
 * after a fork has to be copied.
 *
 * usage: forks [number of forks] */
#include "tests/preload/check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NTHREADS = 16, NSLOTS = 256, LIVE = 64, MINUTE = 60 };

static _Atomic(char *) slots[NSLOTS];
static atomic_bool stop, rest;
static atomic_uint nhandled;

static size_t size_of(unsigned *seed)
{
        unsigned kind = (unsigned)rand_r(seed) % 100;
        unsigned most = kind < 90 ? 500 : kind < 99 ? 20000 : 400000;
        return (unsigned)rand_r(seed) % most + 1;
}

static void churn_once(unsigned *seed)
{
        size_t nbytes = size_of(seed);
        char *p = rand_r(seed) % 8 ? malloc(nbytes) : calloc(1, nbytes);
        if (!p)
                abort();
        p[0] = p[nbytes - 1] = 1;
        if (rand_r(seed) % 8 == 0)
                p = realloc(p, size_of(seed));
        free(atomic_exchange(&slots[(unsigned)rand_r(seed) % NSLOTS], p));
}

static void *churn(void *arg)
{
        unsigned seed = (unsigned)(uintptr_t)arg;
        while (!atomic_load(&stop)) {
                for (int i = 0; i < 50 && !atomic_load(&rest); i++)
                        churn_once(&seed);
                usleep(1000); /* so that the forking thread gets on with two CPUs */
        }
        return NULL;
}

static void *live_in_child(void *arg)
{
        unsigned seed = 7;
        char *own[LIVE];
        for (int i = 0; i < LIVE; i++)
                own[i] = malloc(size_of(&seed));
        for (int i = 0; i < LIVE; i++)
                free(own[i]);
        for (int i = 0; i < 100; i++)
                churn_once(&seed);
        return arg;
}

static void be_child(void)
{
        static char word[] = "back";
        pthread_t thread;
        void *came_back = NULL;
        alarm(MINUTE);
        live_in_child(NULL);
        if (pthread_create(&thread, NULL, live_in_child, word) ||
            pthread_join(thread, &came_back) || came_back != word)
                _exit(2);
        for (int i = 0; i < NSLOTS; i++) /* of threads that are not there */
                free(atomic_exchange(&slots[i], NULL));
        exit(0);
}

/* Handlers of the program's own that allocate. */
static void handle(void)
{
        free(malloc(100));
        char *p = malloc(100000);
        free(p);
        atomic_fetch_add(&nhandled, 1);
}

int main(int argc, char **argv)
{
        int nforks = argc > 1 ? atoi(argv[1]) : 1000, good = 0, signalled = 0, other = 0;
        pthread_t threads[NTHREADS];
        CHECK(is_polders("malloc"));
        CHECK(pthread_atfork(handle, handle, handle) == 0);
        for (uintptr_t i = 0; i < NTHREADS; i++)
                if (pthread_create(&threads[i], NULL, churn, (void *)(i + 1)))
                        return 1;
        for (int i = 0; i < nforks; i++) {
                int status;
                atomic_store(&rest, 0);
                usleep(1500); /* all of them are at it again */
                pid_t child = fork();
                if (child == 0)
                        be_child();
                atomic_store(&rest, 1);
                if (child < 0 || waitpid(child, &status, 0) != child)
                        other++;
                else if (WIFSIGNALED(status))
                        signalled++;
                else if (WEXITSTATUS(status))
                        other++;
                else
                        good++;
        }
        atomic_store(&stop, 1);
        for (int i = 0; i < NTHREADS; i++)
                pthread_join(threads[i], NULL);
        printf("%d forks: %d good, %d died of a signal, %d otherwise bad\n", nforks, good,
               signalled, other);
        CHECK(good == nforks);
        CHECK(atomic_load(&nhandled) == 2 * (unsigned)nforks);
        for (int i = 0; i < NSLOTS; i++)
                free(atomic_exchange(&slots[i], NULL));
        return report();
}
