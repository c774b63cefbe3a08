#include "base/check.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* What fn writes to standard error. */
static size_t caught(void (*fn)(void), char *text, size_t nbytes)
{
        int ends[2], saved = dup(STDERR_FILENO);
        cr_assert(pipe(ends) == 0);
        dup2(ends[1], STDERR_FILENO);
        fn();
        dup2(saved, STDERR_FILENO);
        close(ends[1]);
        ssize_t n = read(ends[0], text, nbytes - 1);
        close(ends[0]);
        cr_assert(n >= 0);
        text[n] = '\0';
        return (size_t)n;
}

static void say_something(void)
{
        pld_say("node %d is %s", 3, "full");
}

static void say_much(void)
{
        char text[2000];
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        pld_say("%s", text);
}

Test(check, say_writes_one_line_with_our_name)
{
        char text[256];
        caught(say_something, text, sizeof text);
        cr_expect_str_eq(text, "polder: node 3 is full\n");
}

Test(check, a_long_line_is_cut_and_still_ends)
{
        char text[4096];
        size_t n = caught(say_much, text, sizeof text);
        cr_assert(n > 100);
        cr_expect(n <= 512);
        cr_expect(text[n - 1] == '\n');
        cr_expect(strchr(text, '\n') == &text[n - 1]);
}

Test(check, say_keeps_errno)
{
        errno = E2BIG;
        say_something();
        cr_expect(errno == E2BIG);
}

Test(check, a_check_that_holds_does_nothing)
{
        PLD_CHECK(1 + 1 == 2);
        PLD_ASSERT(1 + 1 == 2);
}

Test(check, a_failed_check_aborts, .signal = SIGABRT)
{
        PLD_CHECK(1 + 1 == 3);
}

/* In a release build there is no assertion; the test aborts by hand. */
Test(check, a_failed_assertion_aborts_in_debug_builds, .signal = SIGABRT)
{
        PLD_ASSERT(1 + 1 == 3);
        if (!PLD_DEBUG)
                raise(SIGABRT);
}

Test(check, a_failed_assertion_is_nothing_in_release_builds)
{
        int evaluated = 0;
        PLD_ASSERT(PLD_DEBUG || evaluated++);
        cr_expect(evaluated == 0);
}

Test(check, die_aborts, .signal = SIGABRT)
{
        pld_die("%s", "this line belongs to a test");
}
