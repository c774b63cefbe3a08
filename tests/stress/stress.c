/* stress.c: does the collector ever lose an object?
 *
 * Threads come and go and churn a graph that they share: precise nodes, arrays,
 * conservative and leaf objects, tiny and huge, through shared roots and through
 * each other's fields, with every kind of store, weak references, ephemerons and weak
 * tables (ties.c), finalizers, pins, questions of what keeps an object, blocking sections,
 * deep recursion and loops without polls; malloc'ed blocks cross threads, too. Collections of
 * both kinds run all the while, and with POLDER_DEBUG=verify each is verified. Every object
 * carries a check word, so a reader of a lost object notices. In the end everything must be gone.
 *
 * usage: stress [-s SECONDS] [-t THREADS] [-r SEED] [-m both|concurrent|stw|young] */
#include "tests/stress/ties.h"

#include "arena/span.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SHARED = 2048, OWN = 64, MAX_DEPTH = 40, MAX_THREADS = 64, PARCELS = 512, WEAKS = 512, JUNK = 32 };

struct guard { /* has a finalizer; in no cycle, or it would never run */
        struct text *text;
        uint64_t id, check;
};

struct node {
        struct node *next, *other;
        struct guard *guard;
        struct array *array;
        struct text *text;
        struct polder_weak *weak;
        struct polder_ephemeron *ephemeron; /* its key is the node */
        uint64_t id, check;
        uint32_t depth;
        _Atomic uint32_t is_fixed; /* ties.h */
};

struct array {
        uint64_t length; /* no pointer, but in an array of pointers: a small number */
        struct node *at[];
};

struct text { /* a leaf */
        uint32_t nbytes, check;
        unsigned char byte[];
};

static const struct polder_layout *node_layout, *guard_layout, *slot_layout;
static struct node *shared[SHARED];        /* a registered root */
static struct polder_weak *weaks[WEAKS];   /* another: of objects that may be long gone */
static void *_Atomic parcels[PARCELS]; /* malloc'ed blocks on their way */
static _Atomic bool over;
static _Atomic uint64_t nfailures, noperations, nfinalized, nfinalizable, nthreads_made, nweak_gone;
static _Atomic uint64_t ids;
static _Atomic uintptr_t latest[JUNK]; /* addresses of new nodes; no root */

void fail(const char *what, const void *at)
{
        if (atomic_fetch_add(&nfailures, 1) < 10)
                fprintf(stderr, "stress: %s at %p\n", what, at);
}

uint64_t check_of(uint64_t id)
{
        return id * UINT64_C(0x9e3779b97f4a7c15) ^ UINT64_C(0x1234567890abcdef);
}

/* ---- Objects ------------------------------------------------------------------------ */

static struct text *new_text(struct pld_random *random)
{
        uint32_t nbytes = pld_random_below(random, 16);
        switch (pld_random_below(random, 64)) {
        case 0:
                nbytes = pld_random_below(random, 40000);
                break;
        case 1:
                nbytes = pld_random_below(random, 64) ? 2000 : 3000000;
                break;
        default:
                nbytes = pld_random_below(random, 200);
        }
        struct text *text = polder_new_leaf(sizeof *text + nbytes);
        if (!text)
                return NULL;
        text->nbytes = nbytes;
        text->check = (uint32_t)check_of(nbytes);
        if (nbytes) {
                text->byte[0] = (unsigned char)nbytes;
                text->byte[nbytes - 1] = (unsigned char)nbytes;
        }
        return text;
}

static void look_at_text(const struct text *text)
{
        if (!text)
                return;
        if (text->check != (uint32_t)check_of(text->nbytes))
                fail("a text was lost", text);
        else if (text->nbytes && (text->byte[0] != (unsigned char)text->nbytes ||
                                  text->byte[text->nbytes - 1] != (unsigned char)text->nbytes))
                fail("a text was overwritten", text);
}

static void on_finalize(void *object, void *arg)
{
        struct guard *guard = object;
        if (guard->check != check_of(guard->id))
                fail("a finalizer got a lost object", object);
        look_at_text(polder_load(&guard->text));
        look_at_text(arg);
        atomic_fetch_add(&nfinalized, 1);
}

/* Into the newest object: a plain store (rule 3) to the processor. A marker may read the word at
 * the same time, and makes nothing of it, which Thread Sanitizer cannot know. */
#define fill(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

static struct guard *new_guard(struct pld_random *random)
{
        struct text *text = new_text(random), *argument = new_text(random);
        struct guard *guard = polder_new(guard_layout);
        if (!guard)
                return NULL;
        uint64_t id = atomic_fetch_add_explicit(&ids, 1, memory_order_relaxed);
        guard->id = id;
        guard->check = check_of(id);
        fill(guard->text, text);
        if (!polder_finalizer_set(guard, on_finalize, argument))
                atomic_fetch_add(&nfinalizable, 1);
        return guard;
}

static struct node *new_node(struct pld_random *random, struct node *next)
{
        struct text *text = pld_random_below(random, 3) ? NULL : new_text(random);
        struct guard *guard = pld_random_below(random, 64) ? NULL : new_guard(random);
        bool conservative = pld_random_below(random, 8) == 0;
        struct node *node = conservative ? polder_new_conservative(sizeof *node)
                                         : polder_new(node_layout);
        if (!node)
                return NULL;
        uint64_t id = atomic_fetch_add_explicit(&ids, 1, memory_order_relaxed);
        uint32_t depth = next ? next->depth + 1 : 0;
        atomic_store_explicit(&latest[id % JUNK], (uintptr_t)node, memory_order_relaxed);
        if (pld_random_below(random, 256) == 0) /* somebody's junk leads to it meanwhile */
                for (volatile int i = 0; i < 100000; i++)
                        ;
        fill(node->next, depth < MAX_DEPTH ? next : NULL);
        fill(node->text, text);
        fill(node->guard, guard);
        fill(node->id, id);
        fill(node->check, check_of(id));
        fill(node->depth, depth < MAX_DEPTH ? depth : 0);
        if (pld_random_below(random, 64) == 0) {
                struct polder_weak *weak = polder_weak_new(node);
                polder_store(&node->weak, weak);
        }
        if (pld_random_below(random, 16) == 0)
                ties_expect_none(random, node);
        return node;
}

static bool look_at(const struct node *node)
{
        if (!node)
                return false;
        if (node->check != check_of(node->id)) {
                fail("a node was lost", node);
                return false;
        }
        return true;
}

static struct array *new_array(struct pld_random *random)
{
        size_t length = pld_random_below(random, 24);
        if (pld_random_below(random, 200) == 0)
                length = pld_random_below(random, 60000);
        struct array *array = polder_new_array(slot_layout, length + 1);
        if (array)
                fill(array->length, length);
        return array;
}

/* ---- What threads do ------------------------------------------------------------------- */

struct self {
        struct pld_random random;
        struct node *own[OWN]; /* on the thread's stack: no barrier */
        uintptr_t junk[JUNK];  /* words that look like pointers to cells not yet born */
};

static struct node *walk(struct self *self, struct node *node)
{
        unsigned steps = pld_random_below(&self->random, 30);
        while (steps-- > 0 && look_at(node)) {
                look_at_text(polder_load(&node->text));
                struct array *array = polder_load(&node->array);
                struct node *next = NULL;
                if (array && array->length && pld_random_below(&self->random, 3) == 0)
                        next = polder_load(&array->at[pld_random_below(
                                &self->random, (uint32_t)array->length)]);
                else
                        next = polder_load(pld_random_below(&self->random, 3) ? &node->next
                                                                               : &node->other);
                if (!next)
                        break;
                node = next;
        }
        return node;
}

static struct node *pick(struct self *self)
{
        struct node *node;
        if (pld_random_below(&self->random, 2))
                node = self->own[pld_random_below(&self->random, OWN)];
        else
                node = polder_load(&shared[pld_random_below(&self->random, SHARED)]);
        return walk(self, node);
}

static void store_somewhere(struct self *self, struct node *node)
{
        struct node **slot = &shared[pld_random_below(&self->random, SHARED)];
        struct node *holder = pick(self);
        struct node *expected;
        switch (pld_random_below(&self->random, 8)) {
        case 0:
                self->own[pld_random_below(&self->random, OWN)] = polder_exchange(slot, node);
                break;
        case 1:
                expected = polder_load(slot);
                polder_compare_exchange(slot, &expected, node);
                look_at(expected);
                break;
        case 2:
        case 3:
                if (holder && (!node || node->depth < MAX_DEPTH))
                        polder_store(&holder->other, node);
                break;
        case 4:
                self->own[pld_random_below(&self->random, OWN)] = node;
                break;
        default:
                polder_store(slot, node);
        }
}

/* Takes a pointer out of one place and puts it in another: who marks it now? */
static void hand_over(struct self *self)
{
        struct node *from = pick(self), *to = pick(self);
        if (!from || !to)
                return;
        struct node *moved = polder_load(&from->other);
        if (moved && moved->depth >= MAX_DEPTH)
                return;
        polder_store(&to->other, moved);
        polder_store(&from->other, NULL);
}

static void use_array(struct self *self)
{
        struct node *holder = pick(self);
        if (!holder)
                return;
        struct array *array = polder_load(&holder->array);
        if (!array || pld_random_below(&self->random, 4) == 0) {
                array = new_array(&self->random);
                if (!array)
                        return;
                polder_store(&holder->array, array);
        }
        if (array->length == 0)
                return;
        uint32_t n = (uint32_t)array->length, i = pld_random_below(&self->random, n);
        switch (pld_random_below(&self->random, 6)) {
        case 0:
                polder_move(&array->at[0], &array->at[n / 2], (n - n / 2) * sizeof array->at[0]);
                break;
        case 1:
                polder_clear(&array->at[i], (n - i) * sizeof array->at[0]);
                break;
        default:
                polder_store(&array->at[i], new_node(&self->random, NULL));
        }
}

static void use_weak(struct self *self)
{
        struct node *node = pick(self);
        struct polder_weak *weak = node ? polder_load(&node->weak) : NULL;
        if (!weak)
                return;
        struct node *target = polder_weak_get(weak);
        if (target != node)
                fail("a weak reference to a live object was cleared", node);
        struct node *next = polder_load(&node->other);
        struct polder_weak *far = next ? polder_weak_new(next) : NULL;
        if (far && pld_random_below(&self->random, 2)) {
                polder_store(&node->weak, NULL);
                polder_store(&node->other, NULL);
                next = NULL;
                target = polder_weak_get(far);
                if (target)
                        look_at(target);
                else
                        atomic_fetch_add(&nweak_gone, 1);
        }
}

static void use_ties(struct self *self)
{
        struct node *node = pick(self);
        if (!node || !look_at(node))
                return;
        struct polder_ephemeron *ephemeron = polder_load(&node->ephemeron);
        if (ephemeron)
                ties_look_at_ephemeron(ephemeron, node, node->id);
        if (pld_random_below(&self->random, 8) == 0) {
                ephemeron = ties_ephemeron_new(&self->random, node, node->id);
                polder_store(&node->ephemeron, ephemeron);
        }
        ties_use(&self->random, node, node->id, &node->is_fixed);
}

/* Gets back what nobody has held for a while, if it is still there. */
static void revive(struct self *self)
{
        struct polder_weak **slot = &weaks[pld_random_below(&self->random, WEAKS)];
        struct polder_weak *weak = polder_load(slot);
        struct node *node = weak ? polder_weak_get(weak) : NULL;
        if (node && look_at(node))
                polder_store(&shared[pld_random_below(&self->random, SHARED)], node);
        if (weak && !node)
                atomic_fetch_add(&nweak_gone, 1);
        node = new_node(&self->random, NULL);
        if (node)
                polder_store(slot, polder_weak_new(node));
}

static void use_malloc(struct self *self)
{
        size_t nbytes = pld_random_below(&self->random, 8) ? pld_random_below(&self->random, 500)
                                                            : pld_random_below(&self->random, 100000);
        unsigned char *block = polder_malloc(nbytes + 1);
        if (block)
                memset(block, 0x5a, nbytes + 1);
        void *other = atomic_exchange(&parcels[pld_random_below(&self->random, PARCELS)], block);
        if (other && *(unsigned char *)other != 0x5a)
                fail("a block was overwritten", other);
        polder_free(other);
}

static __attribute__((noinline)) int recurse(struct self *self, int depth, struct node *held)
{
        volatile char frame[512];
        frame[0] = (char)depth;
        if (depth == 0) {
                for (volatile int i = 0; i < 2000; i++) /* no poll */
                        ;
                return look_at(held) || !held;
        }
        int result = recurse(self, depth - 1, depth % 16 ? held : pick(self));
        if (held)
                look_at(held);
        return result + frame[0];
}

static void *doze(void *arg)
{
        (void)arg;
        usleep(200);
        return NULL;
}

static void block(struct self *self)
{
        if (pld_random_below(&self->random, 2)) {
                polder_blocking_call(doze, NULL);
        } else {
                polder_blocking_begin();
                usleep(100);
                polder_blocking_end();
        }
}

static void pin_for_a_while(struct self *self)
{
        struct node *node = pick(self);
        if (!node || polder_pin(node))
                return;
        uintptr_t hidden = ~(uintptr_t)node;
        node = NULL;
        polder_safepoint();
        for (int i = 0; i < 20; i++)
                new_node(&self->random, NULL);
        node = (struct node *)~hidden;
        look_at(node);
        if (polder_unpin(node))
                fail("a pin was lost", node);
}

static FILE *nowhere;

static void ask_why(struct self *self)
{
        struct node *node = pick(self);
        if (node && polder_why(node, nowhere))
                fail("nothing keeps an object that is at hand", node);
        look_at(node);
}

static void one_step(struct self *self)
{
        uint32_t i = pld_random_below(&self->random, JUNK);
        self->junk[i] = latest[i] + pld_random_below(&self->random, 2) *
                                        pld_random_below(&self->random, 20) * sizeof(struct node);
        switch (pld_random_below(&self->random, 128)) {
        case 0:
                recurse(self, (int)pld_random_below(&self->random, 100), pick(self));
                break;
        case 1:
                block(self);
                break;
        case 2:
                if (pld_random_below(&self->random, 256) == 0)
                        ask_why(self);
                else
                        pin_for_a_while(self);
                break;
        case 3:
        case 4:
        case 5:
                use_weak(self);
                break;
        case 6:
                revive(self);
                break;
        case 7 ... 30:
                use_array(self);
                break;
        case 31 ... 50:
                hand_over(self);
                break;
        case 51 ... 60:
                use_malloc(self);
                break;
        case 61 ... 72:
                store_somewhere(self, NULL);
                break;
        case 73 ... 80:
                use_ties(self);
                break;
        default:
                store_somewhere(self, new_node(&self->random, pick(self)));
        }
        look_at(self->own[pld_random_below(&self->random, OWN)]);
}

static void *churn(void *arg)
{
        struct self self = { .random = pld_random_seeded((uint64_t)(uintptr_t)arg) };
        uint32_t steps = 2000 + pld_random_below(&self.random, 200000);
        uint32_t n;
        for (n = 0; n < steps && !over; n++)
                one_step(&self);
        atomic_fetch_add(&noperations, n);
        memset(&self, 0, sizeof self);
        return NULL;
}

static void *collect(void *arg)
{
        const char *mode = arg;
        struct pld_random random = pld_random_seeded(99);
        while (!over) {
                bool stopped = !strcmp(mode, "stw") ||
                               (strcmp(mode, "concurrent") && pld_random_below(&random, 4) == 0);
                if (!strcmp(mode, "young") && pld_random_below(&random, 8))
                        polder_collect(POLDER_YOUNG);
                else
                        polder_collect(stopped ? POLDER_STOP_THE_WORLD : POLDER_CONCURRENT);
                usleep(pld_random_below(&random, 20000));
        }
        return NULL;
}

/* Keeps so many threads running, each for a while, until the time is over. */
static void run(double seconds, unsigned nthreads, uint64_t seed, char *mode)
{
        uintptr_t threads[MAX_THREADS];
        pthread_t collector;
        uint64_t end_ns = pld_now_ns() + (uint64_t)(seconds * 1e9);
        pthread_create(&collector, NULL, collect, mode);
        for (unsigned i = 0; i < nthreads; i++)
                polder_thread_create(&threads[i], churn, (void *)(uintptr_t)(seed++ | 1));
        for (unsigned i = 0; pld_now_ns() < end_ns; i = (i + 1) % nthreads) {
                pthread_join((pthread_t)threads[i], NULL);
                atomic_fetch_add(&nthreads_made, 1);
                polder_thread_create(&threads[i], churn, (void *)(uintptr_t)(seed++ | 1));
        }
        over = true;
        for (unsigned i = 0; i < nthreads; i++)
                pthread_join((pthread_t)threads[i], NULL);
        pthread_join(collector, NULL);
}

static void check_that(bool holds, const char *what, int *npassed, int *nfailed)
{
        printf("%s: %s\n", holds ? "ok" : "FAILED", what);
        ++*(holds ? npassed : nfailed);
}

/* Everything that was allocated is gone: nothing leaks, nothing is kept for ever. */
static void *drop_everything(void *unused)
{
        (void)unused;
        for (unsigned i = 0; i < PARCELS; i++)
                polder_free(atomic_exchange(&parcels[i], NULL));
        polder_clear(shared, sizeof shared);
        polder_clear(weaks, sizeof weaks);
        polder_root_remove(shared);
        polder_root_remove(weaks);
        ties_drop_values();
        return NULL;
}

static void *drop_tables(void *unused)
{
        ties_drop_tables();
        return unused;
}

static void on_a_thread(void *(*what)(void *))
{
        pthread_t thread;
        pthread_create(&thread, NULL, what, NULL);
        pthread_join(thread, NULL);
}

static void *look_at_tables(void *count)
{
        *(size_t *)count = ties_count();
        return NULL;
}

/* The tables are there, their keys are not: the entries must go. */
static size_t settle_tables(void)
{
        size_t n = 1;
        for (int i = 0; n > 0 && i < 100; i++) {
                uintptr_t thread;
                polder_collect(i % 2 ? POLDER_CONCURRENT : POLDER_STOP_THE_WORLD);
                polder_thread_create(&thread, look_at_tables, &n);
                pthread_join((pthread_t)thread, NULL);
        }
        return n;
}

static struct polder_stats settle(void)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        for (int i = 0; i < 200; i++) {
                polder_collect(i % 2 ? POLDER_CONCURRENT : POLDER_STOP_THE_WORLD);
                polder_release();
                polder_stats_read(&stats);
                if (stats.live_bytes == 0 && pld_spans_live() == 0)
                        break;
                usleep(10000);
        }
        return stats;
}

/* A line for each span that should be gone. */
static int show_spans(const struct polder_extent *extent, bool added, void *unused)
{
        (void)added, (void)unused;
        for (size_t i = 0; i < extent->nbytes; i += PLD_PAGE_BYTES) {
                uintptr_t at = (uintptr_t)extent->start + i;
                struct pld_span *span = pld_span_of(at);
                if (!span || span->start != at)
                        continue;
                printf("left: a span of kind %u, %u objects of %zu bytes", span->kind, span->count,
                       span->nbytes);
                if (span->kind == PLD_KIND_MANUAL)
                        printf(", owner %p, used %u, where %u, remote %#lx, idle %#x\n",
                               (void *)pld_load_relaxed(&span->manual.owner), span->manual.used,
                               span->manual.where,
                               (unsigned long)pld_load_relaxed(&span->manual.remote),
                               pld_load_relaxed(&span->idle));
                else
                        printf(", owned %d, sweeping %d, records %p, ties %p\n",
                               span->collected.owned, span->collected.sweeping,
                               pld_load_relaxed(&span->collected.records),
                               pld_load_relaxed(&span->collected.ties));
        }
        return 0;
}

int main(int argc, char **argv)
{
        double seconds = 10;
        unsigned nthreads = 4;
        uint64_t seed = (uint64_t)time(NULL);
        char both[] = "both", *mode = both;
        for (int option; (option = getopt(argc, argv, "s:t:r:m:")) != -1;) {
                if (option == 's')
                        seconds = atof(optarg);
                else if (option == 't')
                        nthreads = (unsigned)atoi(optarg);
                else if (option == 'r')
                        seed = strtoull(optarg, NULL, 10);
                else if (option == 'm')
                        mode = optarg;
                else
                        return 2;
        }
        if (nthreads < 1 || nthreads > MAX_THREADS)
                return 2;
        setenv("POLDER_DEBUG", "verify", 0);
        setenv("POLDER_GC_FLOOR", "4M", 0); /* more cycles */
        setenv("POLDER_GENERATIONS", strcmp(mode, "young") ? "0" : "1", 0);
        printf("stress: seconds=%g threads=%u seed=%llu mode=%s\n", seconds, nthreads,
               (unsigned long long)seed, mode);
        fflush(stdout);

        nowhere = fopen("/dev/null", "w");
        if (!nowhere)
                return 2;
        node_layout = POLDER_LAYOUT(struct node, next, other, guard, array, text, weak, ephemeron);
        guard_layout = POLDER_LAYOUT(struct guard, text);
        slot_layout = polder_layout(sizeof(void *), &(uint64_t){ 1 });
        polder_root_add(shared, sizeof shared);
        polder_root_add(weaks, sizeof weaks);
        ties_start();
        polder_thread_detach(); /* this thread's stack holds nothing */
        run(seconds, nthreads, seed, mode);
        on_a_thread(drop_everything);
        size_t nentries = settle_tables();
        on_a_thread(drop_tables);
        struct polder_stats stats = settle();

        int npassed = 0, nfailed = 0;
        printf("operations=%llu threads=%llu cycles=%llu stops=%llu stop_max_us=%.1f allocated_mib=%.0f "
               "finalized=%llu of %llu weak_gone=%llu assists=%llu young=%llu noted=%llu\n",
               (unsigned long long)noperations, (unsigned long long)nthreads_made,
               (unsigned long long)stats.cycles, (unsigned long long)stats.stops,
               (double)stats.stop_ns_max / 1e3, (double)stats.allocated_bytes / 1048576,
               (unsigned long long)nfinalized, (unsigned long long)nfinalizable,
               (unsigned long long)nweak_gone, (unsigned long long)stats.assists,
               (unsigned long long)stats.young_cycles, (unsigned long long)stats.noted_slots);
        check_that(noperations > 0 && stats.cycles >= 5, "there was work and there were cycles",
                   &npassed, &nfailed);
        check_that(nfailures == 0, "no object was lost", &npassed, &nfailed);
        check_that(nentries == 0, "no table has an entry without a key", &npassed, &nfailed);
        check_that(stats.live_bytes == 0, "nothing is live in the end", &npassed, &nfailed);
        check_that(pld_spans_live() == 0, "every span is back", &npassed, &nfailed);
        polder_extents(show_spans, NULL);
        check_that(nfinalized > 0 && nfinalized == nfinalizable, "every finalizer ran once",
                   &npassed, &nfailed);
        printf("%d passed, %d failed\n", npassed, nfailed);
        return nfailed > 0;
}
