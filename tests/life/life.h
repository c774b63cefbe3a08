/* life.h: cases that run each in a process of its own, and must be done within five
 * minutes: a case that hangs has failed. The parent never uses Polder. */
#ifndef TESTS_LIFE_LIFE_H
#define TESTS_LIFE_LIFE_H

#include "base/atomic.h"
#include "base/bits.h"
#include "base/random.h"

#include <errno.h>
#include <polder/polder.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIFE_UNUSED __attribute__((unused))
enum { LIFE_SECONDS = 300 };

#define CHECK(what)                                                                            \
        do {                                                                                   \
                if (!(what)) {                                                                 \
                        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);     \
                        _exit(1);                                                              \
                }                                                                              \
        } while (0)

struct life_case {
        const char *name; /* a sentence */
        void (*run)(void);
        const char *dies_saying; /* it shall: words of its last line */
};

/* ---- Objects ---------------------------------------------------------------------- */

struct life_node {
        struct life_node *next, *other;
        uintptr_t value, check;
};

static const struct polder_layout *life_layout;
static struct life_node *life_shared[64]; /* a root after life_start() */
static struct life_node *life_keep;       /* the same */

static LIFE_UNUSED void life_start(const char *gc, const char *debug)
{
        setenv("POLDER_GC", gc, 1);
        setenv("POLDER_DEBUG", debug, 1);
        life_layout = POLDER_LAYOUT(struct life_node, next, other);
        CHECK(life_layout);
        CHECK(polder_root_add(life_shared, sizeof life_shared) == 0);
        CHECK(polder_root_add(&life_keep, sizeof life_keep) == 0);
}

static LIFE_UNUSED struct life_node *life_node_new(struct life_node *next, uintptr_t value)
{
        struct life_node *node = polder_new(life_layout);
        CHECK(node);
        *node = (struct life_node){ .next = next, .value = value, .check = ~value };
        return node;
}

/* By an attached thread. Adds to one of the shared lists, and looks whether all of it is whole; lists are cut short
 * now and then, so that there is garbage. */
static LIFE_UNUSED void life_churn(struct pld_random *random)
{
        struct life_node **slot = &life_shared[pld_random_below(random, PLD_COUNT_OF(life_shared))];
        struct life_node *first = polder_load(slot);
        unsigned n = 0;
        for (struct life_node *at = first; at; at = polder_load(&at->next), n++)
                CHECK(at->check == ~at->value);
        polder_store(slot, life_node_new(n < 20 ? first : NULL, pld_random_next(random)));
}

/* So that collections take their time. */
static LIFE_UNUSED void life_fill(unsigned n)
{
        struct life_node *list = NULL;
        while (n-- > 0)
                list = life_node_new(list, n);
        polder_store(&life_keep, list);
}

static LIFE_UNUSED void life_collect(void)
{
        CHECK(polder_collect(POLDER_CONCURRENT) == 0);
        CHECK(polder_collect(POLDER_STOP_THE_WORLD) == 0);
}

static LIFE_UNUSED void life_nap(uint32_t us)
{
        struct timespec time = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L };
        nanosleep(&time, NULL);
}

/* Runs fn(arg) on a thread that has ended when this returns. */
static LIFE_UNUSED void *life_on_a_thread(void *(*fn)(void *), void *arg)
{
        pthread_t thread;
        void *result;
        CHECK(pthread_create(&thread, NULL, fn, arg) == 0);
        CHECK(pthread_join(thread, &result) == 0);
        return result;
}

/* ---- A thread that collects all the while ------------------------------------------- */

static _Atomic bool life_over;

static LIFE_UNUSED void *life_collect_on(void *unused)
{
        while (!pld_load_acquire(&life_over)) {
                life_collect();
                CHECK(polder_collect(POLDER_YOUNG) == 0);
        }
        return unused;
}

static LIFE_UNUSED pthread_t life_collector_start(void)
{
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, life_collect_on, NULL) == 0);
        return thread;
}

static LIFE_UNUSED void life_collector_stop(pthread_t thread)
{
        pld_store_release(&life_over, true);
        CHECK(pthread_join(thread, NULL) == 0);
        life_collect();
}

/* ---- Running cases -------------------------------------------------------------------- */

/* What the child said on standard error is passed on, and its end kept. */
static size_t life_listen(int from, char *said, size_t room)
{
        size_t n = 0;
        char piece[256];
        for (ssize_t got; (got = read(from, piece, sizeof piece)) > 0;) {
                if (fwrite(piece, 1, (size_t)got, stderr) != (size_t)got)
                        break;
                if (n + (size_t)got >= room) {
                        memmove(said, said + n / 2, n - n / 2);
                        n -= n / 2;
                }
                memcpy(said + n, piece, (size_t)got);
                n += (size_t)got;
        }
        said[n] = '\0';
        return n;
}

static bool life_ended_well(const struct life_case *test, int status, const char *said)
{
        if (!test->dies_saying)
                return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
               strstr(said, test->dies_saying);
}

/* The status it ends with. */
static int life_fork(const struct life_case *test, char *said, size_t room)
{
        int ends[2], status;
        CHECK(pipe(ends) == 0);
        fflush(NULL);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
                dup2(ends[1], STDERR_FILENO);
                close(ends[0]);
                close(ends[1]);
                alarm(LIFE_SECONDS);
                test->run();
                exit(0);
        }
        close(ends[1]);
        life_listen(ends[0], said, room);
        close(ends[0]);
        CHECK(waitpid(child, &status, 0) == child);
        return status;
}

static bool life_run(const struct life_case *test)
{
        static char said[4096];
        int status = life_fork(test, said, sizeof said);
        bool good = life_ended_well(test, status, said);
        printf("%s %s (status %x)\n", good ? "ok    " : "FAILED", test->name, (unsigned)status);
        return good;
}

/* usage: PROGRAM [part of a case's name] */
static int life_main(const struct life_case *cases, size_t n, int argc, char **argv)
{
        unsigned passed = 0, failed = 0;
        for (size_t i = 0; i < n; i++) {
                if (argc > 1 && !strstr(cases[i].name, argv[1]))
                        continue;
                bool good = life_run(&cases[i]);
                passed += good;
                failed += !good;
        }
        printf("%u passed, %u failed\n", passed, failed);
        return failed ? 1 : 0;
}

#endif
