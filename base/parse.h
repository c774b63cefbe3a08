/* parse.h: numbers, sizes and lists as people write them in settings. */
#ifndef PLD_BASE_PARSE_H
#define PLD_BASE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All return 0 or -EINVAL (-ERANGE where the number does not fit); *out is
 * written only on success. */
int pld_parse_int(const char *text, int64_t low, int64_t high, int64_t *out);
/* "4096", "64K", "1.5G", "2GiB"; binary multiples. */
int pld_parse_size(const char *text, size_t *out);
/* "0", "1", "off", "on", "no", "yes", "false", "true". */
int pld_parse_bool(const char *text, bool *out);
/* "0,2-3" into words[i / 64] bit i % 64, numbers below nbits; not empty. */
int pld_parse_set(const char *text, uint64_t *words, size_t nbits);

#endif
