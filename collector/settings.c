#include "collector/settings.h"

#include "base/bits.h"
#include "base/check.h"
#include "base/parse.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct pld_collector_settings pld_settings = { .gc_percent = 100 };

static const char *const names[] = {
        "POLDER_DEBUG",     "POLDER_DECAY_MS",   "POLDER_GC",           "POLDER_GC_PERCENT",
        "POLDER_LOCK",      "POLDER_MAX_CACHES", "POLDER_MAX_SPANS",    "POLDER_MEMORY_LIMIT",
        "POLDER_NODES",     "POLDER_PAGES",      "POLDER_PREFAULT",     "POLDER_RESERVE",
        "POLDER_WORKERS",   "POLDER_GENERATIONS", "POLDER_GC_FLOOR",
};

static bool is_known(const char *variable, size_t nbytes)
{
        for (size_t i = 0; i < PLD_COUNT_OF(names); i++)
                if (strlen(names[i]) == nbytes && !memcmp(names[i], variable, nbytes))
                        return true;
        return false;
}

static void complain_of_unknown(void)
{
        for (char **variable = environ; variable && *variable; variable++) {
                const char *end = strchr(*variable, '=');
                if (!end || strncmp(*variable, "POLDER_", 7))
                        continue;
                if (!is_known(*variable, (size_t)(end - *variable)))
                        pld_say("%.*s is not a setting of Polder's; the settings are POLDER_DEBUG, "
                                "_DECAY_MS, _GC, _GC_FLOOR, _GC_PERCENT, _GENERATIONS, _LOCK, "
                                "_MAX_CACHES, _MAX_SPANS, _MEMORY_LIMIT, _NODES, _PAGES, "
                                "_PREFAULT, _RESERVE, _WORKERS",
                                (int)(end - *variable), *variable);
        }
}

static bool parse_gc(const char *text, enum polder_gc *out)
{
        static const char *const words[] = { "concurrent", "stw", "off" };
        for (size_t i = 0; i < PLD_COUNT_OF(words); i++) {
                if (!strcasecmp(text, words[i])) {
                        *out = (enum polder_gc)i;
                        return true;
                }
        }
        return false;
}

/* "gctrace=1,verify": each word may have "=0" or "=1". */
static bool parse_debug_word(const char *word, size_t nbytes, struct pld_collector_settings *out)
{
        bool on = true;
        const char *equals = memchr(word, '=', nbytes);
        if (equals) {
                if (word + nbytes - equals != 2 || (equals[1] != '0' && equals[1] != '1'))
                        return false;
                on = equals[1] == '1';
                nbytes = (size_t)(equals - word);
        }
        struct {
                const char *name;
                bool *flag;
        } const words[] = { { "gctrace", &out->gctrace },
                            { "verify", &out->verify },
                            { "report", &out->report },
                            { "rules", &out->rules },
                            { "stagger", &out->stagger } };
        for (size_t i = 0; i < PLD_COUNT_OF(words); i++) {
                if (strlen(words[i].name) == nbytes && !memcmp(words[i].name, word, nbytes)) {
                        *words[i].flag = on;
                        return true;
                }
        }
        return false;
}

static bool parse_debug(const char *text, struct pld_collector_settings *out)
{
        for (;;) {
                size_t nbytes = strcspn(text, ",");
                if (nbytes > 0 && !parse_debug_word(text, nbytes, out))
                        return false;
                if (text[nbytes] == '\0')
                        return true;
                text += nbytes + 1;
        }
}

void pld_options_from_environment(struct polder_options *options)
{
        static const char debug_takes[] = "gctrace, report, rules, stagger and verify, each with =0 "
                                          "or =1 behind it or not, separated by commas; nothing is switched on";
        struct pld_arena_settings arena;
        pld_arena_settings_init(&arena);
        *options = (struct polder_options){
                .struct_size = sizeof *options,
                .pages = arena.pages,
                .nodes = arena.nodes,
                .reserve = arena.reserve,
                .prefault = arena.prefault,
                .lock = arena.lock,
                .decay_ms = arena.decay_ms,
                .max_spans = arena.max_spans,
                .max_caches = arena.max_caches,
                .memory_limit = arena.limit ? arena.limit : arena.soft_limit,
                .memory_limit_hard = arena.limit > 0,
                .gc_percent = 100,
                .generations = -1,
        };
        int64_t number = 100;
        if (pld_setting_int("POLDER_GC_PERCENT", -1, 1000000, &number))
                options->gc_percent = (int)number;
        pld_setting_size("POLDER_GC_FLOOR", &options->gc_floor);
        number = 0;
        if (pld_setting_int("POLDER_WORKERS", 0, 1024, &number))
                options->workers_per_node = (int)number;

        const char *text = getenv("POLDER_GC");
        if (text && *text && !parse_gc(text, &options->gc))
                pld_setting_complain("POLDER_GC", text, "concurrent, stw or off; using concurrent");
        text = getenv("POLDER_DEBUG");
        struct pld_collector_settings ignored = { 0 };
        if (text && *text && !parse_debug(text, &ignored))
                pld_setting_complain("POLDER_DEBUG", text, debug_takes);
        else
                options->debug = text;
        number = options->generations;
        if (pld_setting_int("POLDER_GENERATIONS", -1, 1, &number))
                options->generations = (int)number;
}

int pld_options_apply(const struct polder_options *options, struct pld_arena_settings *arena,
                      struct pld_collector_settings *collector)
{
        *arena = (struct pld_arena_settings){
                .pages = options->pages,
                .nodes = options->nodes,
                .reserve = options->reserve,
                .prefault = options->prefault,
                .lock = options->lock,
                .decay_ms = options->decay_ms,
                .limit = options->memory_limit_hard ? options->memory_limit : 0,
                .max_spans = options->max_spans,
                .max_caches = options->max_caches,
        };
        struct pld_collector_settings wanted = {
                .gc = options->gc,
                .gc_percent = options->gc_percent,
                .gc_floor = options->gc_floor,
                .memory_limit = options->memory_limit,
                .memory_limit_hard = options->memory_limit_hard,
                .workers_per_node = options->workers_per_node,
                .generations = options->generations,
        };
        const char *wrong = NULL;
        if (options->gc > POLDER_GC_OFF)
                wrong = "gc";
        else if (options->workers_per_node < 0 || options->workers_per_node > 1024)
                wrong = "workers_per_node";
        else if (options->generations < -1 || options->generations > 1)
                wrong = "generations";
        else if (options->decay_ms < -1)
                wrong = "decay_ms";
        else if (options->debug && !parse_debug(options->debug, &wanted))
                wrong = "debug";
        if (wrong) {
                pld_say("polder_init: option %s has a value that cannot be", wrong);
                return -EINVAL;
        }
        arena->report = wanted.report;
        *collector = wanted;
        return 0;
}

__attribute__((constructor)) static void look_at_environment(void)
{
        complain_of_unknown();
}
