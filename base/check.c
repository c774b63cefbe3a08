#include "base/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *format, va_list args)
{
        char line[512] = "polder: ";
        const size_t lead = sizeof "polder: " - 1;
        int saved = errno;
        int n = vsnprintf(line + lead, sizeof line - lead - 1, format, args);
        size_t end = n < 0 ? lead : lead + (size_t)n;
        if (end > sizeof line - 2)
                end = sizeof line - 2;
        line[end] = '\n';
        /* write() is a cancellation point, and who calls us may hold a lock. */
        long ignored = syscall(SYS_write, STDERR_FILENO, line, end + 1);
        (void)ignored;
        errno = saved;
}

void pld_say(const char *format, ...)
{
        va_list args;
        va_start(args, format);
        say(format, args);
        va_end(args);
}

void pld_die(const char *format, ...)
{
        va_list args;
        va_start(args, format);
        say(format, args);
        va_end(args);
        abort();
}
