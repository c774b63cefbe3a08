/* options.h: what the command lines of the example servers have in common. */
#ifndef EXAMPLES_OPTIONS_H
#define EXAMPLES_OPTIONS_H

extern const char program_name[]; /* the program's own */

/* One line on standard error, and an exit status of 2. */
void __attribute__((format(printf, 1, 2), noreturn)) options_refuse(const char *format, ...);
/* The value of --OPTION as a number within the bounds, or it is refused. */
unsigned long options_number(const char *option, const char *text, unsigned long least,
                             unsigned long most);

#endif
