#include "tests/arena/arena_test.h"

#include "arena/report.h"

#include <polder/stats.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pld_arena_settings reserving(size_t nbytes)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.reserve = nbytes;
        settings.prefault = true;
        return settings;
}

static void start(const struct pld_arena_settings *settings)
{
        cr_assert_eq(pld_arena_start(settings), 0);
        cr_expect_eq(pld_arena_prefault_wait(), 0);
}

/* The bytes of that node and kind, or 0 where there is no such row. */
static size_t bytes_of(int id, const char *pages, size_t *locked)
{
        struct polder_backing rows[64];
        size_t n = polder_backing_read(rows, 64);
        for (size_t i = 0; i < n; i++) {
                if (rows[i].node != id || strcmp(rows[i].pages, pages))
                        continue;
                *locked = rows[i].locked_bytes;
                return rows[i].bytes;
        }
        return *locked = 0;
}

Test(report, a_row_tells_what_a_node_has_of_a_kind)
{
        size_t locked;
        struct pld_arena_settings settings = reserving(16 * PLD_MIB);
        settings.pages = "2M,thp";
        settings.lock = true;
        arena_test_machine(2);
        pld_fake_set_pool(arena_test_id(1), 4);
        start(&settings);
        cr_expect_eq(bytes_of(arena_test_id(0), "thp", &locked), 8 * PLD_MIB);
        cr_expect_eq(locked, 8 * PLD_MIB);
        cr_expect_eq(bytes_of(arena_test_id(1), "2M", &locked), 8 * PLD_MIB);
        cr_expect_eq(locked, 8 * PLD_MIB);
        cr_expect_eq(bytes_of(arena_test_id(1), "thp", &locked), 0);
        cr_expect_eq(polder_backing_read(NULL, 0), 2, "only what there is");
}

Test(report, a_row_tells_what_was_left_and_why)
{
        struct polder_fallback rows[4];
        struct pld_arena_settings settings = reserving(2 * PLD_GIB);
        settings.pages = "1G,thp";
        arena_test_machine(1);
        pld_fake_set_gigantic(arena_test_id(0), 1);
        start(&settings);
        cr_assert_eq(polder_fallbacks_read(rows, 4), 1);
        cr_expect_str_eq(rows[0].pages, "1G");
        cr_expect_str_eq(rows[0].reason, "pool-empty");
        cr_expect_eq(rows[0].count, 1);
}

Test(report, before_the_start_there_is_nothing)
{
        cr_expect_eq(polder_backing_read(NULL, 0), 0);
        cr_expect_eq(polder_fallbacks_read(NULL, 0), 0);
}

static void read_text(FILE *file, char *text, size_t nbytes)
{
        cr_assert(file);
        rewind(file);
        text[fread(text, 1, nbytes - 1, file)] = '\0';
        fclose(file);
}

Test(report, the_text_has_the_reserve_both_tables_and_the_sum)
{
        char text[2048];
        struct pld_arena_settings settings = reserving(16 * PLD_GIB);
        arena_test_machine(1); /* of half the size */
        cr_assert_eq(pld_arena_start(&settings), 0);
        FILE *file = tmpfile();
        cr_assert_eq(polder_backing_print(file), 0);
        read_text(file, text, sizeof text);
        cr_expect(strstr(text, "reserve: 17179869184 bytes asked for, "), "%s", text);
        cr_expect(strstr(text, "node    pages"), "%s", text);
        cr_expect(strstr(text, "     1      thp "), "%s", text);
        cr_expect(strstr(text, "fallback: thp node-low: 1\n"), "%s", text);
        size_t obtained = strtoul(strstr(text, "asked for, ") + 11, NULL, 10);
        cr_expect_eq(obtained, pld_backing_bytes(0, PLD_BACKING_THP));
}

/* What the arena writes by itself, once the reserve is there. */
static void said_by_start(const struct pld_arena_settings *settings, char *text, size_t nbytes)
{
        FILE *file = tmpfile();
        int saved = dup(STDERR_FILENO);
        cr_assert(file);
        dup2(fileno(file), STDERR_FILENO);
        start(settings);
        dup2(saved, STDERR_FILENO);
        read_text(file, text, nbytes);
}

Test(report, the_start_says_it_once_when_asked)
{
        char text[2048];
        struct pld_arena_settings settings = reserving(16 * PLD_MIB);
        settings.report = true;
        settings.prefault = false;
        arena_test_machine(4);
        said_by_start(&settings, text, sizeof text);
        char *first = strstr(text, "reserve: 16777216 bytes asked for, 16777216 obtained\n");
        cr_assert(first, "%s", text);
        cr_expect_null(strstr(strchr(first, '\n'), "reserve:"));
        cr_expect(strstr(text, "polder:      7      thp              4194304         "),
                  "%s", text);
        cr_expect(strstr(text, "polder:    all                      16777216         "),
                  "%s", text);
}

Test(report, the_start_says_nothing_unless_asked)
{
        char text[2048];
        struct pld_arena_settings settings = reserving(16 * PLD_MIB);
        arena_test_machine(1);
        said_by_start(&settings, text, sizeof text);
        cr_expect_str_eq(text, "");
}
