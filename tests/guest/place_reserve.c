/* place_reserve: is the reserve made of what the nodes' pools have, and is it told?
 *
 * usage: place_reserve gigantic=ID | mlockall=1
 * gigantic: two nodes, of which only that one has a 1G page in its pool. The reserve is 1 GiB
 * and some on each, and locked; the other node's part is a counted fallback.
 * mlockall: the program locks all that it has and will have, before the start. Memory must lie
 * as if it had not, and Polder's tables must stay away. */
#include <polder/polder.h>

#include "tests/guest/place.h"

#include <sys/mman.h>

enum { MAX_ROWS = 16 };

#define GIB ((size_t)1 << 30)
#define MIB ((size_t)1 << 20)

/* pages NULL: of all kinds. */
static size_t bytes_of(int node, const char *pages, bool locked)
{
        struct polder_backing rows[MAX_ROWS];
        size_t n = polder_backing_read(rows, MAX_ROWS), sum = 0;
        for (size_t i = 0; i < n && i < MAX_ROWS; i++)
                if (rows[i].node == node && (!pages || !strcmp(rows[i].pages, pages)))
                        sum += locked ? rows[i].locked_bytes : rows[i].bytes;
        return sum;
}

static uint64_t left(const char *pages, const char *reason)
{
        struct polder_fallback rows[MAX_ROWS];
        size_t n = polder_fallbacks_read(rows, MAX_ROWS);
        for (size_t i = 0; i < n && i < MAX_ROWS; i++)
                if (!strcmp(rows[i].pages, pages) && !strcmp(rows[i].reason, reason))
                        return rows[i].count;
        return 0;
}

static void check_node(int node)
{
        size_t nbytes = 700 * MIB;
        char *p = polder_malloc_onnode(nbytes, node);
        if (!place_fact(p != NULL, "node %d has no memory to give", node))
                return;
        place_fact(bytes_of(node, NULL, false) == GIB + 16 * MIB, "node %d: %zu bytes", node,
                   bytes_of(node, NULL, false));
        p[0] = p[nbytes - 1] = 1;
        size_t elsewhere = place_elsewhere(p, nbytes, node);
        place_fact(elsewhere == 0, "%zu base pages of node %d's lie elsewhere", elsewhere, node);
        polder_free(p);
}

static size_t resident(void)
{
        size_t size = 0, npages = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        if (!file || fscanf(file, "%zu %zu", &size, &npages) != 2)
                npages = 0;
        if (file)
                fclose(file);
        return npages * (size_t)sysconf(_SC_PAGESIZE);
}

static int lock_all(void)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        place_fact(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall: %s", strerror(errno));
        size_t before = resident();
        for (int i = 0; i < 2; i++) {
                for (size_t nbytes = 100; nbytes < 16 * MIB; nbytes *= 3) {
                        char *p = polder_malloc_onnode(nbytes, i);
                        if (!place_fact(p != NULL, "%zu bytes on node %d", nbytes, i))
                                continue;
                        p[0] = 1;
                        size_t elsewhere = place_elsewhere(p, nbytes, i);
                        place_fact(elsewhere == 0, "%zu base pages of %zu bytes lie elsewhere",
                                   elsewhere, nbytes);
                }
        }
        polder_stats_read(&stats);
        place_fact(stats.misplaced_pages == 0, "%zu misplaced", (size_t)stats.misplaced_pages);
        size_t grown = resident() - before;
        place_fact(grown < stats.resident_bytes + 32 * MIB, "%zu bytes for %zu", grown,
                   stats.resident_bytes);
        return place_done();
}

int main(int argc, char **argv)
{
        (void)argc;
        const char *gigantic = place_argument(argv, "gigantic");
        if (place_argument(argv, "mlockall"))
                return lock_all();
        int rich = gigantic ? atoi(gigantic) : 0, poor = 1 - rich;
        struct polder_options options;
        polder_options_init(&options);
        options.pages = "1G,2M,thp,base";
        options.reserve = 2 * (GIB + 16 * MIB);
        options.prefault = options.lock = true;
        options.debug = "report";
        place_fact(polder_init(&options) == 0, "the start");
        place_fact(polder_prefault_wait() == 0, "the whole reserve was obtained");
        place_fact(bytes_of(rich, "1G", false) == GIB, "node %d's 1G page is used", rich);
        place_fact(bytes_of(poor, "1G", false) == 0, "node %d has none", poor);
        int times = (int)left("1G", "pool-empty");
        place_fact(times == 1, "counted %d times", times);
        for (int node = 0; node < 2; node++) {
                place_fact(bytes_of(node, NULL, false) == bytes_of(node, NULL, true),
                           "node %d: all of it is locked", node);
                check_node(node);
        }
        place_fact(polder_release() == 0, "a reserve stays");
        place_fact(bytes_of(rich, "1G", false) == GIB, "the 1G page above all");
        return place_done();
}
