/* settings.h: what the arena can be told, by option or by environment. */
#ifndef PLD_ARENA_SETTINGS_H
#define PLD_ARENA_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pld_arena_settings {
        const char *pages;   /* POLDER_PAGES: the backing chain */
        const char *nodes;   /* POLDER_NODES; NULL: what the process is allowed */
        size_t reserve;      /* POLDER_RESERVE: bytes populated from the start on, over all nodes */
        bool prefault;       /* POLDER_PREFAULT: the start waits until the reserve is populated */
        bool lock;           /* POLDER_LOCK: what is backed is locked in memory */
        bool report;         /* POLDER_DEBUG=report: what was obtained, when the reserve is there */
        int64_t decay_ms;    /* POLDER_DECAY_MS */
        size_t limit;        /* POLDER_MEMORY_LIMIT with ",hard"; 0: none */
        size_t soft_limit;   /* the same without: the collector's business */
        size_t max_spans;    /* POLDER_MAX_SPANS; 0: none */
        size_t max_caches;   /* POLDER_MAX_CACHES; 0: none */
};

/* The defaults, changed by the environment; a malformed value is one line on
 * standard error and the default. */
void pld_arena_settings_init(struct pld_arena_settings *settings);

/* For every floor's settings: reads the variable, parses it, complains. The
 * parsers return 0 or -errno; `takes` says what is allowed, for the complaint. */
void pld_setting_complain(const char *name, const char *value, const char *takes);
bool pld_setting_size(const char *name, size_t *out);
bool pld_setting_bool(const char *name, bool *out);
bool pld_setting_int(const char *name, int64_t low, int64_t high, int64_t *out);
/* "SIZE" or "SIZE,hard". */
bool pld_setting_limit(const char *name, size_t *out, bool *hard);

#endif
