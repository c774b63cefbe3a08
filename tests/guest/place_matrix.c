/* place_matrix: what becomes of each kind of pages under each trouble, as a table.
 *
 * usage: place_matrix TROUBLE CGROUP
 * Three nodes, of which node 2 has no CPU. Nodes 0 and 2 have a 1G page and some 2M pages
 * in their pools, node 1 has neither. For each kind of pages a child of its own allocates
 * everywhere that it may, in the cgroup. Memory must lie where it was asked for, not a byte
 * outside of what is allowed; the steps down the chain must be those of the table, no other
 * ones, and each of those; and no child may die. */
#include <polder/polder.h>

#include "tests/guest/place.h"

#include <sys/wait.h>

#define MIB ((size_t)1 << 20)

enum { NODES = 3, ALL = 7, /* node 2 has no CPU */
        MAX_ROWS = 64, LIMIT_MIB = 160, MOST_MIB = 700 };

struct row {
        const char *trouble, *pages;
        const char *steps; /* "KIND:REASON …": each counted, and nothing else */
};

static const struct row table[] = {
        /* The pools of node 1 are empty. */
        { "pool", "1G,2M,thp,base", "1G:pool-empty 2M:pool-empty" },
        { "pool", "2M,thp,base", "2M:pool-empty" },
        { "pool", "thp,base", "" },
        { "pool", "base", "" },
        /* Node ids with a gap: 0 and 2, which have all. */
        { "sparse", "1G,2M,thp,base", "" },
        { "sparse", "2M,thp,base", "" },
        { "sparse", "thp,base", "" },
        { "sparse", "base", "" },
        /* Bound to the node without CPUs. */
        { "memory-only", "1G,2M,thp,base", "" },
        { "memory-only", "2M,thp,base", "" },
        { "memory-only", "thp,base", "" },
        { "memory-only", "base", "" },
        /* Nodes 1 and 2 are taken away after the start; 1 is not used for 1G pages, as what lies
         * there is moved to node 0, and must have room. */
        { "cpuset", "1G,2M,thp,base",
          "2M:node-forbidden thp:node-forbidden base:node-forbidden" },
        { "cpuset", "2M,thp,base",
          "2M:pool-empty 2M:node-forbidden thp:node-forbidden base:node-forbidden" },
        { "cpuset", "thp,base", "thp:node-forbidden base:node-forbidden" },
        { "cpuset", "base", "base:node-forbidden" },
        /* The cgroup may have LIMIT_MIB; pages of a pool do not count for that. */
        { "limit", "1G,2M,thp,base",
          "1G:pool-empty 2M:pool-empty thp:cgroup-low base:cgroup-low" },
        { "limit", "2M,thp,base", "2M:pool-empty thp:cgroup-low base:cgroup-low" },
        { "limit", "thp,base", "thp:cgroup-low base:cgroup-low" },
        { "limit", "base", "base:cgroup-low" },
};

static const char *cgroup;
static unsigned mask = ALL; /* nodes that are allowed now */

static void put(const char *file, const char *text)
{
        char path[256];
        snprintf(path, sizeof path, "%s/%s", cgroup, file);
        FILE *to = fopen(path, "w");
        bool done = to && fputs(text, to) >= 0 && fclose(to) == 0;
        place_fact(done, "%s takes %s", path, text);
}

/* --- memory, looked at -------------------------------------------------------------- */

static size_t outside(char *at, size_t nbytes)
{
        size_t npages = nbytes / 4096, n = 0;
        for (size_t i = 0; i < npages; i++) {
                void *page = at + i * 4096;
                int status = -1;
                bool there = move_pages(0, 1, &page, NULL, &status, 0) == 0 && status >= 0;
                n += !there || !(mask >> status & 1);
        }
        return n;
}

static void look(const char *what, char *at, size_t nbytes)
{
        if (!place_fact(at != NULL, "%s: no memory", what))
                return;
        memset(at, 0x5a, nbytes);
        size_t n = outside(at, nbytes);
        place_fact(n == 0, "%s: %zu base pages lie outside", what, n);
}

/* Of every kind, by a thread on each CPU. */
static void allocate_from_each_cpu(void)
{
        for (int cpu = 0; cpu < 2; cpu++) {
                place_fact(place_run_on(cpu), "CPU %d", cpu);
                look("malloc", polder_malloc(5 * MIB), 5 * MIB);
                look("malloc, small", polder_malloc(60000), 60000);
                look("new", polder_new_leaf(3 * MIB), 3 * MIB);
                look("new, small", polder_new_leaf(20000), 20000);
        }
}

static void allocate_on_each_node(size_t nbytes)
{
        for (int node = 0; node < NODES; node++) {
                char *p = polder_malloc_onnode(nbytes, node);
                if (!(mask >> node & 1)) {
                        place_fact(p == NULL, "node %d is not allowed", node);
                        continue;
                }
                if (!place_fact(p != NULL, "node %d has no memory", node))
                        continue;
                memset(p, 1, nbytes);
                size_t n = place_elsewhere(p, nbytes, node);
                place_fact(n == 0, "node %d: %zu base pages lie elsewhere", node, n);
        }
}

/* Node 1, which has no pool, so that all of it counts for the limit. So do Polder's tables,
 * which are populated for the whole of the reserve: 64 MiB where it is of 1G pages. */
static void fill(void)
{
        size_t n = 0;
        for (char *p; n < MOST_MIB && (p = polder_malloc_onnode(4 * MIB, 1)); n += 4)
                memset(p, 1, 4 * MIB);
        place_fact(n < LIMIT_MIB, "there was no limit");
        place_fact(n > LIMIT_MIB / 4, "there were only %zu MiB", n);
        place_fact(polder_malloc_onnode(64 * MIB, 1) == NULL, "more than the limit");
}

/* --- the steps that were left ---------------------------------------------------------- */

static void check_steps(const char *steps)
{
        struct polder_fallback rows[MAX_ROWS];
        size_t n = polder_fallbacks_read(rows, MAX_ROWS), nfound = 0, nwanted = 0;
        for (size_t i = 0; i < n && i < MAX_ROWS; i++) {
                char step[64];
                snprintf(step, sizeof step, "%s:%s", rows[i].pages, rows[i].reason);
                bool wanted = strstr(steps, step) != NULL;
                place_fact(wanted || rows[i].count == 0, "%s was left %d times", step,
                           (int)rows[i].count);
                nfound += wanted && rows[i].count > 0;
        }
        for (const char *at = steps; (at = strchr(at, ':')); at++)
                nwanted++;
        place_fact(nfound == nwanted, "of %s only %zu were counted", steps, nfound);
}

/* Without a step down, all is of the first kind; a 1G page is for the reserve. */
static void check_kinds(const struct row *row)
{
        struct polder_backing rows[MAX_ROWS];
        size_t n = polder_backing_read(rows, MAX_ROWS), first = 0, rest = 0;
        for (size_t i = 0; i < n && i < MAX_ROWS; i++) {
                place_fact(mask >> rows[i].node & 1 || !strcmp(row->trouble, "cpuset"),
                           "node %d has %zu bytes", rows[i].node, rows[i].bytes);
                bool is_first = !strncmp(rows[i].pages, row->pages, strlen(rows[i].pages));
                *(is_first ? &first : &rest) += rows[i].bytes;
        }
        place_fact(first > 0, "nothing is of the first kind");
        if (*row->steps == '\0' && strncmp(row->pages, "1G", 2) != 0)
                place_fact(rest == 0, "%zu bytes are of others", rest);
}

/* --- a cell ------------------------------------------------------------------------------- */

static bool is(const struct row *row, const char *trouble)
{
        return !strcmp(row->trouble, trouble);
}

static void bind_to(unsigned long nodes)
{
        place_fact(set_mempolicy(MPOL_BIND, &nodes, 8) == 0, "bound to %lx", nodes);
}

static void start(const struct row *row)
{
        struct polder_options options;
        bool gigantic = !strncmp(row->pages, "1G", 2);
        int n = mask == ALL ? 2 : 1; /* where there are CPUs, if any is allowed */
        polder_options_init(&options);
        options.pages = row->pages;
        options.prefault = true; /* all is populated */
        options.reserve = (size_t)n * (gigantic ? 1024 * MIB : 8 * MIB);
        place_fact(polder_init(&options) == 0, "the start");
        place_fact(polder_prefault_wait() == 0 || is(row, "limit"), "the reserve is there");
}

static int run_cell(const struct row *row)
{
        bool gigantic = !strncmp(row->pages, "1G", 2);
        if (is(row, "sparse") || (is(row, "cpuset") && gigantic))
                mask = 5;
        if (is(row, "memory-only"))
                bind_to(mask = 4);
        start(row);
        if (is(row, "limit")) {
                fill();
        } else {
                allocate_on_each_node(12 * MIB);
                allocate_from_each_cpu();
        }
        if (is(row, "cpuset")) {
                put("cpuset.mems", "0");
                mask = 1;
                for (int node = 1; node < NODES; node++)
                        place_fact(!polder_malloc_onnode(20 * MIB, node),
                                   "node %d is not allowed", node);
                allocate_on_each_node(6 * MIB);
                allocate_from_each_cpu();
        }
        check_kinds(row);
        check_steps(row->steps);
        return place_done();
}

/* In a child, which joins the cgroup; what it dies of is a fact of its own. */
static void run(const struct row *row)
{
        printf("-- %s\n", row->pages);
        fflush(stdout);
        bool gap = is(row, "sparse") || (is(row, "cpuset") && !strncmp(row->pages, "1G", 2));
        put("cpuset.mems", gap ? "0,2" : "0-2");
        put("memory.max", "max");
        pid_t child = fork();
        if (child == 0) {
                char self[32], limit[32];
                snprintf(self, sizeof self, "%d", getpid());
                snprintf(limit, sizeof limit, "%dM", LIMIT_MIB);
                put("cgroup.procs", self);
                if (is(row, "limit"))
                        put("memory.max", limit);
                place_passed = place_failed = 0;
                int failed = run_cell(row);
                fflush(stdout);
                _exit(failed);
        }
        int status = -1;
        waitpid(child, &status, 0);
        place_fact(!WIFSIGNALED(status), "signal %d", WTERMSIG(status));
        place_fact(status == 0, "it failed");
}

int main(int argc, char **argv)
{
        if (argc != 3) {
                fputs("usage: place_matrix TROUBLE CGROUP\n", stderr);
                return 2;
        }
        cgroup = argv[2];
        for (size_t i = 0; i < sizeof table / sizeof *table; i++)
                if (is(&table[i], argv[1]))
                        run(&table[i]);
        return place_done();
}
