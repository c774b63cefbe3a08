/* options.c: what the command lines of the example servers have in common. */
#include "examples/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void options_refuse(const char *format, ...)
{
        va_list args;
        va_start(args, format);
        fprintf(stderr, "%s: ", program_name);
        vfprintf(stderr, format, args);
        fprintf(stderr, " (see %s --help)\n", program_name);
        va_end(args);
        exit(2);
}

unsigned long options_number(const char *option, const char *text, unsigned long least,
                             unsigned long most)
{
        char *end;
        errno = 0;
        unsigned long number = strtoul(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end || errno || number < least || number > most)
                options_refuse("--%s takes a number from %lu to %lu, not '%s'", option, least, most,
                               text);
        return number;
}
