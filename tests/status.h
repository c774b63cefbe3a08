/* status.h: what the kernel counts for this process. */
#ifndef TESTS_STATUS_H
#define TESTS_STATUS_H

#include "base/bits.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a line of /proc/self/status, such as "VmLck:". */
static inline size_t status_bytes(const char *key)
{
        char line[256];
        size_t kib = 0;
        FILE *file = fopen("/proc/self/status", "r");
        cr_assert(file != NULL);
        while (fgets(line, sizeof line, file))
                if (!strncmp(line, key, strlen(key)))
                        kib = strtoul(line + strlen(key), NULL, 10);
        fclose(file);
        return kib * PLD_KIB;
}

#endif
