/* stress: do the structures do what they say, while the collector runs all the time?
 *
 * usage: stress [-s SECONDS] [-t THREADS] [-r SEED] STRUCTURE    (stack, queue, map, sorted)
 *
 * Rounds of two kinds take turns. In the short ones each thread does a few operations on a
 * new structure with few keys; what was called, what returned and what came out is checked
 * for linearizability: of a map each key by itself, which is enough. In the long ones many
 * things go in, and each must come out once: returned by an operation, or found in the end;
 * what one thread put in a queue comes to another in its order. Every thing has a check word,
 * so that one that the collector lost is noticed. Before each access of a slot threads give
 * way now and then (chaos.h), and a thread does nothing but collect. */
#include "tests/lockfree/subject.h"

#include "base/clock.h"
#include "base/random.h"

#include <inttypes.h>
#include <polder/polder.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
        FEW_KEYS = 6,
        SHORT = 56,
        SHORT_WITHOUT_KEYS = 32, /* operations of all threads in a short round */
        MANY_KEYS = 3000,
        LONG = 4000,
        ROUND_CPU_S = 8
};

struct self {
        unsigned thread;
        struct pld_random random;
        struct operation history[SHORT];
        size_t noperations;
        uint32_t last[LINEAR_THREADS]; /* ordered: the last of that thread's that came out here */
        struct thing *found;           /* on a stack: what was seen last, to be replaced */
};

static const struct subject *subject;
static unsigned nthreads = 4;
static void *structure; /* a registered root */
static bool is_short, over;
static uint64_t salt; /* of the hashes */
static pthread_barrier_t barrier;
static _Atomic uint64_t round_cpu_ns; /* of the process, when the round began */
static _Atomic uint64_t clock_now = 1, nin, nout;
static _Atomic uint32_t ids;
static atomic_bool collect_no_more;
static uint64_t nshort, nwide, nlong, noperations;

static __thread struct pld_random chaos_random;

void chaos(void)
{
        if (!chaos_random.state)
                return;
        uint32_t r = pld_random_below(&chaos_random, is_short ? 256 : 4096);
        if (r < 16)
                sched_yield();
        else if (r < 32)
                for (volatile uint32_t i = 0; i < 8 * r; i++)
                        ;
}

static _Noreturn void fail(const char *what, uint64_t a, uint64_t b)
{
        fprintf(stderr, "lockfree: %s: %s (%" PRIu64 ", %" PRIu64 ")\n", subject->name, what, a, b);
        exit(1);
}

/* In short rounds keys meet in few buckets, which the growing table cuts, and some have one
 * hash. All are of one stripe of the count, so that the table grows soon. */
uint64_t hash_of_key(uint32_t key)
{
        struct pld_random random = pld_random_seeded(salt + key);
        if (is_short)
                return pld_random_below(&random, 2) | pld_random_below(&random, 5) << 4;
        return pld_random_next(&random);
}

static uint64_t check_of(const struct thing *thing)
{
        return (thing->hash ^ thing->key ^ (uint64_t)thing->id << 32 ^ thing->thread) *
               UINT64_C(0x9e3779b97f4a7c15);
}

static struct thing *look_at(struct thing *thing)
{
        if (thing && thing->check != check_of(thing))
                fail("a thing was lost", thing->id, thing->key);
        return thing;
}

static struct thing *thing_new(const struct self *self, uint32_t key)
{
        static const struct polder_layout *_Atomic layout;
        if (!layout)
                layout = POLDER_LAYOUT(struct thing, entry.next);
        struct thing *thing = polder_new(layout);
        if (!thing)
                fail("no memory", 0, 0);
        thing->hash = hash_of_key(key);
        thing->key = key;
        thing->thread = self->thread;
        thing->id = atomic_fetch_add(&ids, 1) + 1;
        thing->check = check_of(thing);
        return thing;
}

static bool puts_in(int kind)
{
        return kind == PUT || kind == ADD || kind == REPLACE;
}

/* ---- Short rounds: histories ------------------------------------------------------------ */

static void do_operation(struct self *self)
{
        struct operation *operation = &self->history[self->noperations++];
        int kind = subject->kinds[pld_random_below(&self->random, (uint32_t)subject->nkinds)];
        uint32_t key = subject->has_keys ? pld_random_below(&self->random, FEW_KEYS) : 0;
        struct thing *old = self->found, *out = NULL;
        if (kind == REPLACE && !old)
                kind = GET;
        if (kind == REPLACE)
                key = old->key;
        struct thing *thing = puts_in(kind) ? thing_new(self, key) : NULL;

        uint64_t called = atomic_fetch_add(&clock_now, 1);
        int done = subject->operate(structure, kind, key, thing, old, &out);
        uint64_t returned = atomic_fetch_add(&clock_now, 1);
        look_at(out);
        if (out && subject->has_keys && out->key != key)
                fail("another key's thing", out->key, key);
        if (out && (kind == GET || kind == ADD))
                self->found = out;
        *operation = (struct operation){ .called = called,
                                         .returned = returned,
                                         .thread = (uint8_t)self->thread,
                                         .kind = (uint8_t)kind,
                                         .key = (uint16_t)key,
                                         .in = thing ? (uint16_t)thing->id : 0,
                                         .old = kind == REPLACE ? (uint16_t)old->id : 0,
                                         .out = (uint16_t)(kind == REPLACE ? done
                                                           : out           ? (int)out->id
                                                                           : 0) };
}

static void check_history(struct self *selves)
{
        struct operation all[SHORT];
        for (uint16_t key = 0; key < (subject->has_keys ? FEW_KEYS : 1); key++) {
                size_t count = 0;
                for (unsigned t = 0; t < nthreads; t++)
                        for (size_t i = 0; i < selves[t].noperations; i++)
                                if (selves[t].history[i].key == key)
                                        all[count++] = selves[t].history[i];
                const struct operation *wrong;
                enum linear_verdict verdict = linear_check(subject->spec, all, count, &wrong);
                nwide += verdict == TOO_WIDE;
                if (verdict != NOT_LINEAR)
                        continue;
                linear_print(all, count);
                fail("a history that is not linearizable; returned, key", wrong->returned, key);
        }
        for (unsigned t = 0; t < nthreads; t++)
                noperations += selves[t].noperations;
}

/* ---- Long rounds: what goes in comes out once --------------------------------------------- */

static void came_out(struct thing *thing)
{
        look_at(thing);
        if (atomic_fetch_add(&thing->out, 1) != 0)
                fail("a thing came out twice", thing->id, thing->key);
        atomic_fetch_add(&nout, 1);
}

static void in_order(struct self *self, const struct thing *thing)
{
        uint32_t *last = &self->last[thing->thread];
        if (subject->ordered && thing->id <= *last)
                fail("things of one thread changed places", thing->id, *last);
        *last = thing->id;
}

static void churn(struct self *self)
{
        for (int i = 0; i < LONG; i++) {
                int kind =
                    subject->kinds[pld_random_below(&self->random, (uint32_t)subject->nkinds)];
                uint32_t key = pld_random_below(&self->random, MANY_KEYS);
                struct thing *old = self->found, *out = NULL;
                if (subject->operate == subjects[nsubjects - 1].operate && kind == GET &&
                    i % 4 == 0) {
                        kind = TAKE;
                        key /= 8;
                }
                if (kind == REPLACE && !old)
                        kind = GET;
                if (kind == REPLACE)
                        key = old->key;
                struct thing *thing = puts_in(kind) ? thing_new(self, key) : NULL;
                int done = subject->operate(structure, kind, key, thing, old, &out);
                look_at(out);
                if (thing && done && (kind != ADD || !out))
                        atomic_fetch_add(&nin, 1);
                if (kind == GET || kind == ADD) {
                        self->found = out;
                } else if (kind == REPLACE) {
                        if (done)
                                came_out(old);
                        self->found = NULL;
                } else if (out) {
                        came_out(out);
                        in_order(self, out);
                }
        }
}

static void check_balance(void)
{
        subject->drain(structure, came_out);
        if (nin != nout)
                fail("so many went in, so many came out", nin, nout);
}

/* ---- Threads ------------------------------------------------------------------------------ */

static void await(void)
{
        polder_blocking_begin();
        pthread_barrier_wait(&barrier);
        polder_blocking_end();
}

static void one_round(struct self *self)
{
        if (!is_short) {
                churn(self);
                return;
        }
        size_t most = subject->has_keys ? SHORT : SHORT_WITHOUT_KEYS;
        while (self->noperations < most / nthreads)
                do_operation(self);
}

static void *work(void *arg)
{
        /* What it finds lies on its stack, where the collector looks. */
        struct self self, *shown = *(struct self *volatile *)arg;
        unsigned thread = shown->thread;
        memset(&self, 0, sizeof self);
        self = *shown;
        self.thread = thread;
        chaos_random = pld_random_seeded(pld_random_next(&self.random));
        for (;;) {
                await();
                if (over)
                        return NULL;
                self.noperations = 0;
                self.found = NULL;
                memset(self.last, 0, sizeof self.last);
                one_round(&self);
                memcpy(shown->history, self.history, sizeof self.history);
                shown->noperations = self.noperations;
                await();
        }
}

static uint64_t cpu_ns(void)
{
        return pld_clock_read(CLOCK_PROCESS_CPUTIME_ID);
}

/* Also sees that rounds end; by CPU time, so that it does not matter who else runs. */
static void *collect(void *arg)
{
        for (unsigned i = 1; !atomic_load(&collect_no_more); i++) {
                polder_collect(i % 16 ? POLDER_CONCURRENT : POLDER_STOP_THE_WORLD);
                if (cpu_ns() > atomic_load(&round_cpu_ns) + ROUND_CPU_S * PLD_NS_PER_S)
                        fail("a round does not end", nshort, nlong);
        }
        return arg;
}

static void run_round(struct self *selves, uint64_t round)
{
        is_short = round % 64 != 63;
        atomic_store(&round_cpu_ns, cpu_ns());
        salt += MANY_KEYS;
        atomic_store(&ids, 0);
        atomic_store(&nin, 0);
        atomic_store(&nout, 0);
        void *made = subject->make();
        if (!made)
                fail("no memory", 0, 0);
        polder_store(&structure, made);
        await();
        await();
        if (is_short) {
                check_history(selves);
                nshort++;
        } else {
                check_balance();
                nlong++;
        }
}

static void run(double seconds, uint64_t seed)
{
        static struct self selves[LINEAR_THREADS];
        struct self *arg[LINEAR_THREADS];
        pthread_t collecting;
        uintptr_t threads[LINEAR_THREADS];
        salt = seed << 32;
        polder_root_add(&structure, sizeof structure);
        pthread_barrier_init(&barrier, NULL, nthreads + 1);
        pthread_create(&collecting, NULL, collect, NULL);
        for (unsigned t = 0; t < nthreads; t++) {
                selves[t] =
                    (struct self){ .thread = t, .random = pld_random_seeded(seed * 64 + t) };
                arg[t] = &selves[t];
                if (polder_thread_create(&threads[t], work, &arg[t]))
                        fail("no thread", t, 0);
        }
        uint64_t end_ns = pld_now_ns() + (uint64_t)(seconds * 1e9);
        for (uint64_t round = 0; pld_now_ns() < end_ns || nlong == 0; round++)
                run_round(selves, round);
        over = true;
        await();
        atomic_store(&collect_no_more, true);
        polder_blocking_begin();
        for (unsigned t = 0; t < nthreads; t++)
                pthread_join((pthread_t)threads[t], NULL);
        pthread_join(collecting, NULL);
        polder_blocking_end();
        polder_root_remove(&structure);
}

int main(int argc, char **argv)
{
        double seconds = 2;
        uint64_t seed = 1;
        for (int option; (option = getopt(argc, argv, "s:t:r:")) != -1;) {
                if (option == 's')
                        seconds = atof(optarg);
                else if (option == 't')
                        nthreads = (unsigned)atoi(optarg);
                else if (option == 'r')
                        seed = strtoull(optarg, NULL, 10);
                else
                        return 2;
        }
        for (int i = 0; optind < argc && i < nsubjects; i++)
                if (strcmp(subjects[i].name, argv[optind]) == 0)
                        subject = &subjects[i];
        if (!subject || nthreads < 1 || nthreads > LINEAR_THREADS) {
                fputs("usage: stress [-s SECONDS] [-t THREADS] [-r SEED] stack|queue|map|sorted\n",
                      stderr);
                return 2;
        }
        run(seconds, seed);
        if (nwide > 3 + nshort / 20)
                fail("too many histories are too wide to be checked", nwide, nshort);
        struct polder_stats stats = { .struct_size = sizeof stats };
        polder_stats_read(&stats);
        printf("%-6s %" PRIu64 " histories of %" PRIu64 " operations (%" PRIu64
               " too wide), %" PRIu64 " long rounds, %" PRIu64 " collections, seed %" PRIu64 "\n",
               subject->name, nshort, noperations, nwide, nlong, stats.cycles, seed);
        return 0;
}
