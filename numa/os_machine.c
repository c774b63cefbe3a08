/* os_machine.c: what the machine is, as Linux tells it: nodes, CPUs, policies and memory.
 *
 * libnuma gives the system call (numaif.h). Its enumeration is not used, because it
 * allocates, and this code runs below malloc: sysfs is read here with plain reads into
 * the stack. */
#include "numa/os_machine.h"

#include "base/bits.h"
#include "base/check.h"
#include "base/parse.h"
#include "numa/os_text.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum {
        TEXT_BYTES = 8192,            /* the longest file that is read */
        MODE_PREFERRED_MANY = 5,      /* Linux 5.15 */
        MODE_WEIGHTED_INTERLEAVE = 6  /* Linux 6.9 */
};

/* --- reading sysfs and procfs --------------------------------------------------- */

static int read_text(const char *path, char text[TEXT_BYTES])
{
        return pld_text_read(path, text, TEXT_BYTES);
}

static int read_node_text(int id, const char *file, char text[TEXT_BYTES])
{
        char path[128];
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/%s", id, file);
        return read_text(path, text);
}

/* A list such as "0-3,8", or nothing at all, as a set. */
static int parse_list(const char *text, uint64_t *words, size_t nbits)
{
        memset(words, 0, pld_words_for(nbits) * sizeof *words);
        return *text == '\0' ? 0 : pld_parse_set(text, words, nbits);
}

static int read_node_list(const char *file, struct pld_node_set *out)
{
        char path[96], text[TEXT_BYTES];
        snprintf(path, sizeof path, "/sys/devices/system/node/%s", file);
        int error = read_text(path, text);
        return error ? error : parse_list(text, out->words, PLD_NODE_IDS);
}

/* The number of kB behind "key:" in a meminfo, as bytes; 0 where there is none. */
static size_t meminfo_bytes(const char *text, const char *key)
{
        const char *at = strstr(text, key);
        return at ? strtoull(at + strlen(key), NULL, 10) * PLD_KIB : 0;
}

/* --- nodes and policies ---------------------------------------------------------------- */

int pld_linux_nodes_with_memory(struct pld_node_set *out)
{
        return read_node_list("has_memory", out) ? -ENOSYS : 0;
}

/* For where get_mempolicy() is forbidden: the line that everyone may read. */
static int allowed_by_status(struct pld_node_set *out)
{
        static const char key[] = "Mems_allowed_list:";
        char text[TEXT_BYTES];
        int error = read_text("/proc/self/status", text);
        if (error)
                return error;
        char *at = strstr(text, key);
        if (!at)
                return -ENOSYS;
        at += strlen(key);
        at += strspn(at, " \t");
        at[strcspn(at, "\n")] = '\0';
        return parse_list(at, out->words, PLD_NODE_IDS);
}

int pld_linux_nodes_allowed(struct pld_node_set *out)
{
        unsigned long mask[PLD_NODE_IDS / 64] = { 0 };
        if (get_mempolicy(NULL, mask, PLD_LINUX_MAXNODE, NULL, MPOL_F_MEMS_ALLOWED) != 0)
                return allowed_by_status(out);
        memcpy(out->words, mask, sizeof mask);
        return 0;
}

/* MPOL_F_RELATIVE_NODES: bit n of the mask is the n-th allowed node, wrapping. */
static void make_absolute(struct pld_node_set *nodes)
{
        struct pld_node_set allowed, relative = *nodes;
        int ids[PLD_NODE_IDS], n = 0;
        if (pld_linux_nodes_allowed(&allowed) != 0)
                return;
        for (int id = 0; id < PLD_NODE_IDS; id++)
                if (pld_node_set_has(&allowed, id))
                        ids[n++] = id;
        *nodes = (struct pld_node_set){ { 0 } };
        for (int bit = 0; n > 0 && bit < PLD_NODE_IDS; bit++)
                if (pld_node_set_has(&relative, bit))
                        pld_node_set_add(nodes, ids[bit % n]);
}

static enum pld_policy kind_of_mode(int mode)
{
        switch (mode) {
        case MPOL_BIND:
                return PLD_POLICY_BIND;
        case MPOL_PREFERRED:
        case MODE_PREFERRED_MANY:
                return PLD_POLICY_PREFERRED;
        case MPOL_INTERLEAVE:
        case MODE_WEIGHTED_INTERLEAVE:
                return PLD_POLICY_INTERLEAVE;
        default:
                return PLD_POLICY_LOCAL;
        }
}

int pld_linux_policy(struct pld_os_policy *out)
{
        int mode = MPOL_DEFAULT;
        unsigned long mask[PLD_NODE_IDS / 64] = { 0 };
        if (get_mempolicy(&mode, mask, PLD_LINUX_MAXNODE, NULL, 0) != 0)
                return -errno;
        memcpy(out->nodes.words, mask, sizeof mask);
        if (mode & MPOL_F_RELATIVE_NODES)
                make_absolute(&out->nodes);
        mode &= ~MPOL_MODE_FLAGS;
        out->weighted = mode == MODE_WEIGHTED_INTERLEAVE;
        out->kind = kind_of_mode(mode);
        if (pld_node_set_is_empty(&out->nodes))
                out->kind = PLD_POLICY_LOCAL; /* "preferred" without a node is local */
        return 0;
}

int pld_linux_cpus_of_node(int id, cpu_set_t *out)
{
        enum { CPU_IDS = 8192 }; /* the kernel's limit, which is above cpu_set_t's */
        char text[TEXT_BYTES];
        uint64_t words[CPU_IDS / 64];
        static_assert(sizeof words >= sizeof *out, "cpu_set_t is a prefix of the kernel's set");
        int error = read_node_text(id, "cpulist", text);
        if (!error)
                error = parse_list(text, words, CPU_IDS);
        if (error)
                return error;
        memcpy(out, words, sizeof *out);
        return 0;
}

/* The main thread's mask stands for the process: the caller may have pinned itself. */
int pld_linux_cpus_allowed(cpu_set_t *out)
{
        return sched_getaffinity(getpid(), sizeof *out, out) == 0 ? 0 : -errno;
}

int pld_linux_distances(int id, uint8_t row[PLD_NODE_IDS])
{
        char text[TEXT_BYTES];
        struct pld_node_set online;
        int error = read_node_list("online", &online);
        if (!error)
                error = read_node_text(id, "distance", text);
        if (error)
                return error;
        memset(row, 0, PLD_NODE_IDS);
        char *at = text;
        for (int other = 0; other < PLD_NODE_IDS; other++) {
                if (!pld_node_set_has(&online, other))
                        continue;
                char *end;
                unsigned long distance = strtoul(at, &end, 10);
                if (end == at)
                        return -EINVAL;
                row[other] = distance < UINT8_MAX ? (uint8_t)distance : UINT8_MAX;
                at = end;
        }
        return 0;
}

unsigned pld_linux_weight(int id)
{
        char path[96], text[TEXT_BYTES];
        int64_t weight;
        snprintf(path, sizeof path, "/sys/kernel/mm/mempolicy/weighted_interleave/node%d", id);
        if (read_text(path, text) != 0 || pld_parse_int(text, 1, UINT8_MAX, &weight) != 0)
                return 1;
        return (unsigned)weight;
}

/* --- memory -------------------------------------------------------------------------------- */

/* What the kernel keeps of a node: below the low watermarks it reclaims, and below
 * the lowest it kills, if the memory is bound. They are the node's share of one
 * setting, and some of its size; twice that is above the highest of them. */
static size_t kept_bytes(size_t node_total, size_t whole_total)
{
        char text[TEXT_BYTES];
        int64_t min_kb;
        if (read_text("/proc/sys/vm/min_free_kbytes", text) != 0 ||
            pld_parse_int(text, 0, INT32_MAX, &min_kb) != 0 || whole_total == 0)
                return 0;
        double share = (double)node_total / (double)whole_total;
        return 2 * (size_t)((double)min_kb * share) * PLD_KIB + node_total / 256;
}

/* As MemAvailable is estimated, which nodes don't have: half of what could be
 * dropped, without what the kernel keeps. */
static int node_memory(int id, size_t whole_total, struct pld_os_memory *out)
{
        char text[TEXT_BYTES];
        int error = read_node_text(id, "meminfo", text);
        if (error)
                return error;
        size_t cached = meminfo_bytes(text, " Active(file):") +
                        meminfo_bytes(text, " Inactive(file):") +
                        meminfo_bytes(text, " SReclaimable:");
        out->total = meminfo_bytes(text, " MemTotal:");
        out->available = meminfo_bytes(text, " MemFree:") + cached / 2;
        size_t kept = kept_bytes(out->total, whole_total);
        out->available -= kept < out->available ? kept : out->available;
        return 0;
}

static int whole_memory(struct pld_os_memory *out)
{
        char text[TEXT_BYTES];
        int error = read_text("/proc/meminfo", text);
        if (error)
                return error;
        out->total = meminfo_bytes(text, "MemTotal:");
        out->available = meminfo_bytes(text, "MemAvailable:");
        return 0;
}

int pld_linux_memory(int id, struct pld_os_memory *out)
{
        struct sysinfo info = { .mem_unit = 1 };
        sysinfo(&info);
        out->swap = (size_t)info.freeswap * info.mem_unit;
        return id < 0 ? whole_memory(out)
                      : node_memory(id, (size_t)info.totalram * info.mem_unit, out);
}

int pld_linux_pool_free(int id, enum pld_backing kind, size_t *npages)
{
        char file[64], path[96], text[TEXT_BYTES];
        int64_t n;
        snprintf(file, sizeof file, "hugepages/hugepages-%zukB/free_hugepages",
                 pld_backing_unit_bytes(kind) / PLD_KIB);
        snprintf(path, sizeof path, "/sys/kernel/mm/%s", file);
        int error = id < 0 ? read_text(path, text) : read_node_text(id, file, text);
        if (!error)
                error = pld_parse_int(text, 0, INT64_MAX, &n);
        if (!error)
                *npages = (size_t)n;
        return error;
}

bool pld_linux_has_thp(void)
{
        char text[TEXT_BYTES];
        int64_t nbytes;
        if (read_text("/sys/kernel/mm/transparent_hugepage/enabled", text) != 0 ||
            strstr(text, "[never]"))
                return false;
        return read_text("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", text) == 0 &&
               pld_parse_int(text, 0, INT64_MAX, &nbytes) == 0 &&
               (size_t)nbytes == PLD_HUGE_BYTES;
}
