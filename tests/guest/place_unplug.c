/* place_unplug: memory and CPUs of node 1 are taken away while the program runs.
 *
 * usage: place_unplug. Two nodes with two CPUs each. Every block of node 1's memory that
 * the kernel lets go is put offline, then its CPUs. What the program holds must be whole,
 * wherever the kernel moved it; what it gets from then on must lie on a node that is
 * there, and nothing may kill it. What was free when the memory went has been moved by the
 * kernel as well, untold, and is node 1's for Polder until it goes back: so that does. */
#include <polder/polder.h>

#include "tests/guest/place.h"

#include <glob.h>
#include <pthread.h>

#define MIB ((size_t)1 << 20)

enum { HELD = 24, EACH_MIB = 2, FRESH = 8 << 20 /* only huge pages that are new hold as much */ };

static unsigned char *held[HELD];

static bool put(const char *path, const char *text)
{
        FILE *file = fopen(path, "w");
        bool done = file && fputs(text, file) >= 0;
        return file && fclose(file) == 0 && done;
}

static size_t put_all(const char *pattern, const char *file, const char *text)
{
        glob_t found;
        size_t n = 0;
        if (glob(pattern, 0, NULL, &found) != 0)
                return 0;
        for (size_t i = 0; i < found.gl_pathc; i++) {
                char path[256];
                snprintf(path, sizeof path, "%s/%s", found.gl_pathv[i], file);
                n += put(path, text);
        }
        globfree(&found);
        return n;
}

static void hold(void)
{
        for (int i = 0; i < HELD; i++) {
                held[i] = polder_malloc_onnode(EACH_MIB * MIB, i % 2);
                if (place_fact(held[i] != NULL, "block %d", i))
                        memset(held[i], i + 1, EACH_MIB * MIB);
        }
}

static void check_held(const char *when)
{
        size_t nbad = 0;
        for (int i = 0; i < HELD; i++)
                for (size_t k = 0; held[i] && k < EACH_MIB * MIB; k++)
                        nbad += held[i][k] != i + 1;
        place_fact(nbad == 0, "%s %zu bytes have changed", when, nbad);
}

static size_t count_nowhere(char *at, size_t nbytes)
{
        size_t n = 0;
        for (size_t i = 0; i < nbytes; i += 4096) {
                void *page = at + i;
                int id = -1;
                n += move_pages(0, 1, &page, NULL, &id, 0) != 0 || id < 0 || id > 1;
        }
        return n;
}

/* Of each kind, and larger than what may lie about from before. */
static void *allocate(void *when)
{
        for (size_t nbytes = 1000; nbytes < 16 * MIB; nbytes *= 5) {
                char *p = polder_malloc(nbytes), *q = polder_new_leaf(nbytes);
                polder_release();
                char *r = polder_malloc_onnode(nbytes, 1); /* or NULL */
                if (!place_fact(p && q, "%s: no memory", (char *)when))
                        continue;
                memset(p, 1, nbytes);
                memset(q, 1, nbytes);
                place_fact(count_nowhere(p, nbytes) + count_nowhere(q, nbytes) == 0,
                           "%s: %zu bytes lie nowhere", (char *)when, nbytes);
                if (r) {
                        memset(r, 1, nbytes);
                        size_t n = nbytes < FRESH ? 0 : place_elsewhere(r, nbytes, 1);
                        place_fact(n == 0, "%s: %zu base pages are not on node 1", (char *)when, n);
                        polder_free(r);
                }
                polder_free(p);
        }
        return NULL;
}

static void allocate_everywhere(char *when)
{
        pthread_t thread;
        for (int cpu = 0; cpu < 4; cpu++)
                if (place_run_on(cpu))
                        allocate(when);
        place_fact(pthread_create(&thread, NULL, allocate, when) == 0, "%s: a thread", when);
        pthread_join(thread, NULL);
        place_fact(polder_collect(POLDER_STOP_THE_WORLD) == 0, "%s: a collection", when);
        check_held(when);
}

int main(void)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        hold();
        allocate_everywhere("before");
        size_t nblocks = put_all("/sys/devices/system/node/node1/memory[0-9]*", "state", "offline");
        printf("-- %zu blocks of node 1's memory are offline\n", nblocks);
        if (nblocks == 0) {
                puts("skipped: the kernel lets no block of memory go");
                return 0;
        }
        allocate_everywhere("without memory");
        size_t ncpus = put_all("/sys/devices/system/node/node1/cpu[0-9]*", "online", "0");
        place_fact(ncpus == 2, "%zu CPUs are offline", ncpus);
        allocate_everywhere("without CPUs");
        place_fact(put_all("/sys/devices/system/cpu/cpu[23]", "online", "1") == 2, "CPUs come again");
        put_all("/sys/devices/system/memory/memory[0-9]*", "state", "online");
        allocate_everywhere("again");
        polder_stats_read(&stats);
        place_fact(stats.misplaced_pages == 0, "%zu misplaced", (size_t)stats.misplaced_pages);
        return place_done();
}
