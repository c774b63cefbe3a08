/* os_cgroup.c: what the memory control groups of this process leave it.
 *
 * Whoever populates memory beyond a group's limit is killed, as on a full node that memory
 * is bound to. So limits are read before. Every group from the process's own up to the
 * root may have one, and the one that leaves least counts. They are those of version 2,
 * or of version 1 where memory is still a controller of that. In a container the path that
 * the kernel tells is often not there: then what is mounted as the root is the container's
 * own group. That there is no limit is remembered for a moment: it is asked often.
 *
 * No lock, and nothing is allocated. */
#include "numa/os_cgroup.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "numa/os_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

enum {
        PATH_BYTES = 1024,
        TEXT_BYTES = 4096,
        TIGHT_SHARE = 4, /* of a limit; with less left, it is looked what could be dropped */
        REMEMBER_NS = 50 * PLD_NS_PER_MS
};
#define NO_LIMIT (SIZE_MAX / 4) /* version 1 says so by a number near 2^63 */

struct version {
        const char *mount, *limit, *usage, *swap_limit, *swap_usage;
};

static const struct version version_1 = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                          "memory.usage_in_bytes", NULL, NULL };
static const struct version version_2 = { "/sys/fs/cgroup", "memory.max", "memory.current",
                                          "memory.swap.max", "memory.swap.current" };

/* A group's file as a number; NO_LIMIT: "max", or it is not there. */
static size_t number_in(const char *group, const char *file)
{
        char path[PATH_BYTES + 64], text[TEXT_BYTES];
        snprintf(path, sizeof path, "%s/%s", group, file);
        if (pld_text_read(path, text, sizeof text) != 0 || *text < '0' || *text > '9')
                return NO_LIMIT;
        unsigned long long n = strtoull(text, NULL, 10);
        return n < NO_LIMIT ? (size_t)n : NO_LIMIT;
}

static size_t stat_bytes(const char *text, const char *key)
{
        const char *at = strstr(text, key); /* each begins a line */
        return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* Half of the files that it has in memory, as for a node. */
static size_t droppable_in(const char *group)
{
        char path[PATH_BYTES + 64], text[TEXT_BYTES];
        snprintf(path, sizeof path, "%s/memory.stat", group);
        if (pld_text_read(path, text, sizeof text) != 0)
                return 0;
        return (stat_bytes(text, "\ninactive_file ") + stat_bytes(text, "\nactive_file ")) / 2;
}

static size_t free_swap(void)
{
        struct sysinfo info = { .mem_unit = 1 };
        return sysinfo(&info) ? 0 : (size_t)info.freeswap * info.mem_unit;
}

static size_t swap_in(const char *group, const struct version *version)
{
        size_t left = free_swap();
        if (left == 0 || !version->swap_limit)
                return left;
        size_t limit = number_in(group, version->swap_limit);
        size_t used = limit < NO_LIMIT ? number_in(group, version->swap_usage) : 0;
        size_t most = limit > used ? limit - used : 0;
        return most < left ? most : left;
}

static void tighten(const char *group, const struct version *version, struct pld_os_memory *out)
{
        size_t limit = number_in(group, version->limit);
        if (limit == NO_LIMIT)
                return;
        size_t used = number_in(group, version->usage);
        size_t left = limit > used ? limit - used : 0;
        if (left < limit / TIGHT_SHARE)
                left += droppable_in(group);
        size_t swap = swap_in(group, version);
        if (left + swap < out->available + out->swap)
                *out = (struct pld_os_memory){ .total = limit, .available = left, .swap = swap };
}

/* The path behind "N:CONTROLLERS:" of the line that speaks of memory. */
static const struct version *find_path(char *text, char **path)
{
        const struct version *version = NULL;
        char *rest;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                char *controllers = strchr(line, ':');
                char *at = controllers ? strchr(controllers + 1, ':') : NULL;
                if (!at)
                        continue;
                *at = '\0';
                bool first = strstr(controllers, "memory") != NULL;
                if (!first && (controllers[1] != '\0' || version))
                        continue;
                version = first ? &version_1 : &version_2;
                *path = at + 1;
                if (first)
                        break;
        }
        return version;
}

int pld_cgroup_memory_below(const char *root, struct pld_os_memory *out)
{
        char file[PATH_BYTES], text[TEXT_BYTES], group[PATH_BYTES], *path = NULL;
        struct pld_os_memory least = { .total = NO_LIMIT, .available = NO_LIMIT };
        snprintf(file, sizeof file, "%s/proc/self/cgroup", root);
        if (pld_text_read(file, text, sizeof text) != 0)
                return -ENOENT;
        const struct version *version = find_path(text, &path);
        if (!version)
                return -ENOENT;
        int mount = snprintf(group, sizeof group, "%s%s", root, version->mount);
        int n = snprintf(group + mount, sizeof group - (size_t)mount, "%s", path);
        if (n < 0 || (size_t)(mount + n) >= sizeof group)
                return -ENOENT;
        for (char *end = group + mount + n;; end = strrchr(group, '/')) {
                *end = '\0';
                tighten(group, version, &least);
                if (end <= group + mount)
                        break;
        }
        if (least.total == NO_LIMIT)
                return -ENOENT;
        *out = least;
        return 0;
}

int pld_cgroup_memory(struct pld_os_memory *out)
{
        static _Atomic uint64_t none_until_ns; /* relaxed: a hint */
        uint64_t now_ns = pld_now_ns();
        if (now_ns < pld_load_relaxed(&none_until_ns))
                return -ENOENT;
        int error = pld_cgroup_memory_below("", out);
        if (error)
                pld_store_relaxed(&none_until_ns, now_ns + REMEMBER_NS);
        return error;
}
