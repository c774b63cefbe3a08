#include "numa/os_cgroup.h"

#include "base/bits.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A root of the test's own, whose files say what the test wants. */
static char root[] = "/tmp/polder-cgroup-XXXXXX";

static void put(const char *path, const char *text)
{
        char file[256];
        snprintf(file, sizeof file, "%s%s", root, path);
        for (char *at = file + strlen(root) + 1; (at = strchr(at, '/')); at++) {
                *at = '\0';
                mkdir(file, 0700);
                *at = '/';
        }
        FILE *to = fopen(file, "w");
        cr_assert_not_null(to, "%s", file);
        fputs(text, to);
        fclose(to);
}

static void make_root(void)
{
        cr_assert_not_null(mkdtemp(root));
}

static void remove_root(void)
{
        char command[64];
        snprintf(command, sizeof command, "rm -rf %s", root);
        cr_expect_eq(system(command), 0);
}

TestSuite(os_cgroup, .init = make_root, .fini = remove_root);

static struct pld_os_memory found(void)
{
        struct pld_os_memory memory = { 0 };
        cr_assert_eq(pld_cgroup_memory_below(root, &memory), 0);
        return memory;
}

static void expect_none(void)
{
        struct pld_os_memory memory;
        cr_expect_eq(pld_cgroup_memory_below(root, &memory), -ENOENT);
}

#define V2 "/sys/fs/cgroup"

Test(os_cgroup, where_there_is_no_limit_that_is_the_answer)
{
        expect_none();
        put("/proc/self/cgroup", "0::/a/b\n");
        expect_none();
        put(V2 "/a/b/memory.max", "max\n");
        put(V2 "/a/memory.max", "max\n");
        expect_none();
}

Test(os_cgroup, the_tightest_group_on_the_way_up_counts)
{
        put("/proc/self/cgroup", "0::/a/b\n");
        put(V2 "/a/b/memory.max", "1000000\n");
        put(V2 "/a/b/memory.current", "100000\n");
        put(V2 "/a/b/memory.swap.max", "0\n");
        cr_expect_eq(found().available, 900000);
        cr_expect_eq(found().total, 1000000);
        put(V2 "/a/memory.max", "2000000\n");
        put(V2 "/a/memory.current", "1500000\n");
        put(V2 "/a/memory.swap.max", "0\n");
        cr_expect_eq(found().available, 500000);
        cr_expect_eq(found().total, 2000000);
        put(V2 "/memory.max", "3000000\n");
        put(V2 "/memory.current", "4000000\n");
        put(V2 "/memory.swap.max", "0\n");
        cr_expect_eq(found().available, 0, "beyond it");
}

Test(os_cgroup, half_of_its_files_can_be_dropped_where_it_is_tight)
{
        put("/proc/self/cgroup", "0::/\n");
        put(V2 "/memory.max", "1000000\n");
        put(V2 "/memory.current", "900000\n");
        put(V2 "/memory.swap.max", "0\n");
        put(V2 "/memory.stat", "anon 1\nfile 2\ninactive_file 200000\nactive_file 40000\n");
        cr_expect_eq(found().available, 100000 + 120000);
}

Test(os_cgroup, a_path_that_is_not_there_is_a_container_whose_root_is_the_group)
{
        put("/proc/self/cgroup", "0::/system.slice/docker-1234.scope\n");
        put(V2 "/memory.max", "1000000\n");
        put(V2 "/memory.current", "1\n");
        cr_expect_eq(found().total, 1000000);
}

Test(os_cgroup, version_1_has_other_names_and_a_number_for_none)
{
        put("/proc/self/cgroup", "12:cpuset:/x\n9:memory:/a\n0::/y\n");
        put(V2 "/y/memory.max", "5\n");
        put(V2 "/memory/a/memory.limit_in_bytes", "1000000\n");
        put(V2 "/memory/a/memory.usage_in_bytes", "400000\n");
        put(V2 "/memory/memory.limit_in_bytes", "9223372036854771712\n");
        cr_expect_eq(found().available, 600000);
}
