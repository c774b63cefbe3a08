#include "arena/settings.h"

#include "base/bits.h"
#include "base/check.h"
#include "base/parse.h"
#include "numa/backing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DECAY_MS = 10000 };

/* An empty variable is one that is not set. */
static const char *value_of(const char *name)
{
        const char *value = getenv(name);
        return value && *value ? value : NULL;
}

/* Both floors read some variables: one line each is enough. */
static bool was_said(const char *name)
{
        static const char *said[16];
        static size_t n;
        for (size_t i = 0; i < n; i++)
                if (!strcmp(said[i], name))
                        return true;
        if (n < PLD_COUNT_OF(said))
                said[n++] = name;
        return false;
}

void pld_setting_complain(const char *name, const char *value, const char *takes)
{
        if (was_said(name))
                return;
        pld_say("%s=\"%s\" is not understood: takes %s", name, value, takes);
}

bool pld_setting_size(const char *name, size_t *out)
{
        char takes[96];
        const char *value = value_of(name);
        if (!value)
                return false;
        if (!pld_parse_size(value, out))
                return true;
        snprintf(takes, sizeof takes, "a size such as 64M or 2G; using %zu", *out);
        pld_setting_complain(name, value, takes);
        return false;
}

bool pld_setting_bool(const char *name, bool *out)
{
        const char *value = value_of(name);
        if (!value)
                return false;
        if (!pld_parse_bool(value, out))
                return true;
        pld_setting_complain(name, value, *out ? "on or off; using on" : "on or off; using off");
        return false;
}

bool pld_setting_int(const char *name, int64_t low, int64_t high, int64_t *out)
{
        char takes[128];
        const char *value = value_of(name);
        if (!value)
                return false;
        if (!pld_parse_int(value, low, high, out))
                return true;
        snprintf(takes, sizeof takes, "a number from %lld to %lld; using %lld", (long long)low,
                 (long long)high, (long long)*out);
        pld_setting_complain(name, value, takes);
        return false;
}

bool pld_setting_limit(const char *name, size_t *out, bool *hard)
{
        static const char suffix[] = ",hard";
        char size[64];
        const char *value = value_of(name);
        if (!value)
                return false;
        size_t n = strlen(value), tail = sizeof suffix - 1;
        bool wall = n > tail && !strcmp(value + n - tail, suffix);
        if (wall)
                n -= tail;
        if (n < sizeof size) {
                memcpy(size, value, n);
                size[n] = '\0';
                if (!pld_parse_size(size, out)) {
                        *hard = wall;
                        return true;
                }
        }
        pld_setting_complain(name, value,
                             "a size such as 4G, or 4G,hard for a wall; using what it was before");
        return false;
}

static void read_decay(int64_t *out)
{
        const char *value = value_of("POLDER_DECAY_MS");
        if (value && pld_parse_int(value, -1, INT64_MAX / 1000000, out))
                pld_setting_complain("POLDER_DECAY_MS", value,
                                     "milliseconds, -1 (never) or 0 (at once); using 10000");
}

static void read_count(const char *name, size_t *out)
{
        int64_t n = 0;
        if (pld_setting_int(name, 0, INT64_MAX, &n))
                *out = (size_t)n;
}

/* The list is the collector's, which knows all words and complains; malloc alone has this. */
static bool has_debug_word(const char *word)
{
        size_t length = strlen(word);
        const char *at = value_of("POLDER_DEBUG");
        bool on = false;
        for (; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
                size_t n = strcspn(at, ",");
                if (n < length || strncmp(at, word, length))
                        continue;
                if (n == length || (n == length + 2 && at[length] == '='))
                        on = n == length || at[length + 1] == '1';
        }
        return on;
}

void pld_arena_settings_init(struct pld_arena_settings *settings)
{
        *settings = (struct pld_arena_settings){ .decay_ms = DECAY_MS };
        size_t limit = 0;
        bool hard = false;
        settings->pages = value_of("POLDER_PAGES");
        settings->nodes = value_of("POLDER_NODES");
        pld_setting_size("POLDER_RESERVE", &settings->reserve);
        pld_setting_bool("POLDER_PREFAULT", &settings->prefault);
        read_decay(&settings->decay_ms);
        if (pld_setting_limit("POLDER_MEMORY_LIMIT", &limit, &hard))
                *(hard ? &settings->limit : &settings->soft_limit) = limit;
        read_count("POLDER_MAX_SPANS", &settings->max_spans);
        read_count("POLDER_MAX_CACHES", &settings->max_caches);
        pld_setting_bool("POLDER_LOCK", &settings->lock);
        settings->report = has_debug_word("report");
}
