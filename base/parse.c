#include "base/parse.h"

#include "base/bits.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int pld_parse_int(const char *text, int64_t low, int64_t high, int64_t *out)
{
        char *end;
        int saved = errno;
        errno = 0;
        long long value = strtoll(text, &end, 10);
        int error = errno;
        errno = saved;
        if (end == text || *end != '\0')
                return -EINVAL;
        if (error == ERANGE || value < low || value > high)
                return -ERANGE;
        *out = value;
        return 0;
}

/* The shift of a suffix such as K, MB or GiB; -1: not one. */
static int suffix_shift(const char *suffix)
{
        static const char letters[] = "KMGT";
        if (*suffix == '\0' || !strcasecmp(suffix, "B"))
                return 0;
        const char *at = strchr(letters, toupper((unsigned char)*suffix));
        if (!at || *at == '\0')
                return -1;
        suffix++;
        if (*suffix != '\0' && strcasecmp(suffix, "B") && strcasecmp(suffix, "iB"))
                return -1;
        return 10 * (int)(at - letters + 1);
}

int pld_parse_size(const char *text, size_t *out)
{
        if (!isdigit((unsigned char)*text))
                return -EINVAL;
        const char *at = text;
        size_t whole = 0;
        for (; isdigit((unsigned char)*at); at++)
                if (__builtin_mul_overflow(whole, 10, &whole) ||
                    __builtin_add_overflow(whole, (size_t)(*at - '0'), &whole))
                        return -ERANGE;
        size_t thousandths = 0;
        if (*at == '.') {
                size_t unit = 100;
                if (!isdigit((unsigned char)*++at))
                        return -EINVAL;
                for (; isdigit((unsigned char)*at); at++, unit /= 10)
                        thousandths += (size_t)(*at - '0') * unit;
        }
        int shift = suffix_shift(at);
        if (shift < 0)
                return -EINVAL;
        if (shift > 0 && whole >> (64 - shift))
                return -ERANGE;
        *out = (whole << shift) + ((size_t)1 << shift) * thousandths / 1000;
        return 0;
}

int pld_parse_bool(const char *text, bool *out)
{
        static const char *const no[] = { "0", "off", "no", "false" };
        static const char *const yes[] = { "1", "on", "yes", "true" };
        for (size_t i = 0; i < PLD_COUNT_OF(no); i++) {
                if (!strcasecmp(text, no[i]) || !strcasecmp(text, yes[i])) {
                        *out = !strcasecmp(text, yes[i]);
                        return 0;
                }
        }
        return -EINVAL;
}

static int parse_number(const char **at, size_t nbits, size_t *out)
{
        if (!isdigit((unsigned char)**at))
                return -EINVAL;
        size_t n = 0;
        for (; isdigit((unsigned char)**at); (*at)++) {
                n = n * 10 + (size_t)(**at - '0');
                if (n >= nbits)
                        return -ERANGE;
        }
        *out = n;
        return 0;
}

static int parse_ranges(const char *text, uint64_t *words, size_t nbits)
{
        for (;;) {
                size_t first, last;
                int error = parse_number(&text, nbits, &first);
                if (error)
                        return error;
                last = first;
                if (*text == '-') {
                        text++;
                        error = parse_number(&text, nbits, &last);
                        if (error)
                                return error;
                }
                if (last < first)
                        return -EINVAL;
                if (words)
                        pld_bits_fill(words, first, last + 1, true);
                if (*text == '\0')
                        return 0;
                if (*text++ != ',')
                        return -EINVAL;
        }
}

int pld_parse_set(const char *text, uint64_t *words, size_t nbits)
{
        int error = parse_ranges(text, NULL, nbits);
        if (error)
                return error;
        memset(words, 0, pld_words_for(nbits) * sizeof *words);
        return parse_ranges(text, words, nbits);
}
