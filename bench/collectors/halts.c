/* halts.c: how long do threads wait when collections stop them, whatever they are at?
 *
 * Many more threads than processors, all alike, while one more collects without end a heap of
 * little. By `mode`:
 *   work    each allocates, stores and follows pointers, without a pause
 *   loop    each computes, and neither allocates nor polls
 *   deep    each does the work of `work` under so many frames as `depth` says, in thousands
 *   block   each sleeps in blocking sections, and works a little between them
 *   call    each sleeps in system calls of which the collector is not told
 *
 * A thread that has work reads the clock after each bit of it. Where two readings are further
 * apart than GAP_NS it did not get on; what the kernel says of the time for which it was ready to
 * run and had no processor is subtracted in the net figures. What the host took of the machine is
 * told as one sum, as nobody says of whom. Figures of the collector's own, of stops, handshakes
 * and stalls, are as it counts them: in them is what it waited for threads without a processor.
 * Three figures are the median, the hundredth from above, and the highest. */
#include "bench/collectors/load.h"
#include "bench/collectors/waits.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { TABLE = 4096, CHAIN = 8, SPIN_ROUNDS = 2000, NAP_US = 200 };

struct link {
        struct link *next;
        uint64_t number;
};

static struct {
        struct link **table;
} root;

struct halts {
        uint64_t raw[WAIT_CELLS], net[WAIT_CELLS];
        uint64_t raw_max, net_max, last, queued;
        int schedstat;
        char apart[64];
};

static struct halts all_halts[MAX_THREADS];
static memory_kind link_kind;
static uint64_t end_ns;
static bool ended;

static uint64_t read_queued(const struct halts *halts)
{
        char text[96];
        unsigned long long ran = 0, queued = 0;
        ssize_t length = pread(halts->schedstat, text, sizeof text - 1, 0);
        text[length > 0 ? length : 0] = 0;
        sscanf(text, "%llu %llu", &ran, &queued);
        return queued;
}

static void note_gap(struct halts *halts, uint64_t gap)
{
        uint64_t queued = read_queued(halts), taken = queued - halts->queued;
        uint64_t net = gap > taken ? gap - taken : 0;
        halts->queued = queued;
        halts->raw[wait_cell(gap)]++;
        halts->net[wait_cell(net)]++;
        halts->raw_max = gap > halts->raw_max ? gap : halts->raw_max;
        halts->net_max = net > halts->net_max ? net : halts->net_max;
}

/* False when the time is over. */
static bool gets_on(struct halts *halts)
{
        uint64_t now = now_ns();
        if (now - halts->last > GAP_NS)
                note_gap(halts, now - halts->last);
        halts->last = now;
        return now < end_ns;
}

/* --- What threads are at ------------------------------------------------------------------- */

static void allocate_a_little(struct random *random)
{
        struct link **slot = &root.table[random_below(random, TABLE)];
        struct link *link = memory_new(link_kind);
        if (!link)
                give_up("no memory");
        link->number = 1;
        uint64_t length = 0;
        struct link *old = memory_load(slot);
        for (struct link *at = old; at; at = memory_load(&at->next))
                length += at->number;
        if (length > CHAIN * MAX_THREADS)
                give_up("a chain is longer than it was made");
        memory_store(&link->next, length < CHAIN ? old : NULL);
        memory_store(slot, link);
}

static void work(struct halts *halts, struct random *random)
{
        do
                allocate_a_little(random);
        while (gets_on(halts));
}

static void loop(struct halts *halts, struct random *random)
{
        uint64_t sum = 0;
        do
                for (unsigned i = 0; i < SPIN_ROUNDS; i++)
                        sum += random_next(random);
        while (gets_on(halts));
        __asm__ __volatile__("" : : "r"(sum));
}

static __attribute__((noinline)) uint64_t deep(struct halts *halts, struct random *random,
                                               unsigned frames)
{
        struct link *mine = memory_load(&root.table[frames % TABLE]);
        uint64_t below = 0;
        if (frames > 0)
                below = deep(halts, random, frames - 1);
        else
                work(halts, random);
        return below + (mine ? mine->number : 0);
}

static void nap(struct halts *halts, struct random *random, bool blocking)
{
        do {
                for (unsigned i = 0; i < CHAIN; i++)
                        allocate_a_little(random);
                if (!gets_on(halts))
                        break;
                if (blocking)
                        memory_wait_begin();
                usleep(NAP_US);
                halts->last = now_ns(); /* a sleep takes as long as it takes, but its end does not */
                halts->queued = read_queued(halts);
                if (blocking)
                        memory_wait_end();
        } while (gets_on(halts));
}

static void be_halted(const struct setting *setting, unsigned index)
{
        struct halts *halts = &all_halts[index];
        struct random random = random_of(index);
        halts->schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
        halts->queued = read_queued(halts);
        halts->last = now_ns();
        if (!strcmp(setting->mode, "loop"))
                loop(halts, &random);
        else if (!strcmp(setting->mode, "deep"))
                (void)deep(halts, &random, setting->depth * 1000);
        else if (!strcmp(setting->mode, "block") || !strcmp(setting->mode, "call"))
                nap(halts, &random, setting->mode[0] == 'b');
        else
                work(halts, &random);
        __atomic_store_n(&ended, true, __ATOMIC_RELAXED);
}

/* --- The report ----------------------------------------------------------------------------- */

static void say_cells(const char *name, const uint64_t cells[], uint64_t max)
{
        say("%s_us=%.0f/%.0f/%.0f", name, waits_percentile(cells, .5), waits_percentile(cells, .99),
            (double)max / 1e3);
}

static void say_halts(unsigned n)
{
        static struct halts sum;
        for (unsigned i = 0; i < n; i++) {
                const struct halts *one = &all_halts[i];
                for (unsigned cell = 0; cell < WAIT_CELLS; cell++) {
                        sum.raw[cell] += one->raw[cell];
                        sum.net[cell] += one->net[cell];
                }
                sum.raw_max = one->raw_max > sum.raw_max ? one->raw_max : sum.raw_max;
                sum.net_max = one->net_max > sum.net_max ? one->net_max : sum.net_max;
        }
        say_cells("gap", sum.raw, sum.raw_max);
        say_cells("gap_net", sum.net, sum.net_max);
}

static void *collect_until_the_end(void *argument)
{
        uint64_t *ncollections = argument;
        memory_thread_begin();
        for (; !__atomic_load_n(&ended, __ATOMIC_RELAXED); ++*ncollections)
                memory_collect(MEMORY_CONCURRENT);
        return NULL;
}

void run_halts(const struct setting *setting)
{
        pthread_t collecting;
        uint64_t ncollections = 0;
        struct memory_figures before = memory_figures();
        link_kind = memory_kind_of(sizeof(struct link), 1);
        memory_root(&root, sizeof root);
        memory_store(&root.table, (struct link **)memory_new_pointers(TABLE));
        end_ns = now_ns() + (uint64_t)(setting->seconds * 1e9);
        if (pthread_create(&collecting, NULL, collect_until_the_end, &ncollections))
                give_up("pthread_create");
        in_threads(setting, setting->threads, be_halted, NULL);
        memory_wait_begin();
        pthread_join(collecting, NULL);
        memory_wait_end();
        struct memory_figures after = memory_figures();
        say("mode=%s threads=%u", setting->mode, setting->threads);
        say("cycle_ms=%.1f stops_a_cycle=%.2f",
            ncollections ? setting->seconds * 1e3 / (double)ncollections : 0,
            (double)(after.stops - before.stops) / (double)(after.cycles - before.cycles));
        say_halts(setting->threads);
}
