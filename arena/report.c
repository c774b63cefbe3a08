#include "arena/report.h"

#include "arena/arena.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "numa/backing.h"
#include "numa/machine.h"

#include <errno.h>
#include <polder/stats.h>

enum { LINE_BYTES = 128 };

static _Atomic size_t asked, missing; /* of the reserve */

void pld_report_asked(size_t nbytes)
{
        pld_store_relaxed(&asked, nbytes);
}

void pld_report_missing(size_t nbytes)
{
        pld_add_relaxed(&missing, nbytes);
}

/* ---- Reading -------------------------------------------------------------------------- */

size_t polder_backing_read(struct polder_backing *out, size_t n)
{
        size_t nrows = 0;
        if (!pld_arena_is_started())
                return 0;
        for (unsigned node = 0; node < pld_machine.nnodes; node++) {
                for (enum pld_backing kind = PLD_BACKING_1G; kind < PLD_BACKING_KINDS; kind++) {
                        struct polder_backing row = {
                                .node = pld_machine.node[node].id,
                                .pages = pld_backing_name(kind),
                                .bytes = pld_backing_bytes(node, kind),
                                .locked_bytes = pld_backing_locked_bytes(node, kind),
                        };
                        if (row.bytes && nrows < n)
                                out[nrows] = row;
                        nrows += row.bytes > 0;
                }
        }
        return nrows;
}

size_t polder_fallbacks_read(struct polder_fallback *out, size_t n)
{
        size_t nrows = 0;
        for (enum pld_backing kind = PLD_BACKING_1G; kind < PLD_BACKING_KINDS; kind++) {
                for (enum pld_reason why = 0; why < PLD_REASONS; why++) {
                        struct polder_fallback row = {
                                .pages = pld_backing_name(kind),
                                .reason = pld_reason_name(why),
                                .count = pld_backing_fallbacks(kind, why),
                        };
                        if (row.count && nrows < n)
                                out[nrows] = row;
                        nrows += row.count > 0;
                }
        }
        return nrows;
}

/* ---- Writing -------------------------------------------------------------------------- */

typedef void line_fn(void *to, const char *line);

static void write_backing(line_fn *put, void *to)
{
        struct polder_backing rows[PLD_MAX_NODES * PLD_BACKING_KINDS];
        char line[LINE_BYTES];
        size_t n = polder_backing_read(rows, PLD_COUNT_OF(rows)), bytes = 0, locked = 0;
        snprintf(line, sizeof line, "%6s %8s %20s %20s", "node", "pages", "bytes", "locked bytes");
        put(to, line);
        for (size_t i = 0; i < n; i++) {
                snprintf(line, sizeof line, "%6d %8s %20zu %20zu", rows[i].node, rows[i].pages,
                         rows[i].bytes, rows[i].locked_bytes);
                put(to, line);
                bytes += rows[i].bytes;
                locked += rows[i].locked_bytes;
        }
        snprintf(line, sizeof line, "%6s %8s %20zu %20zu", "all", "", bytes, locked);
        put(to, line);
}

static void write_reserve(line_fn *put, void *to)
{
        char line[LINE_BYTES];
        size_t wanted = pld_load_relaxed(&asked), short_of = pld_load_relaxed(&missing);
        if (!wanted)
                return;
        snprintf(line, sizeof line, "reserve: %zu bytes asked for, %zu obtained", wanted,
                 wanted > short_of ? wanted - short_of : 0);
        put(to, line);
}

static void write_fallbacks(line_fn *put, void *to)
{
        struct polder_fallback rows[PLD_BACKING_KINDS * PLD_REASONS];
        char line[LINE_BYTES];
        size_t n = polder_fallbacks_read(rows, PLD_COUNT_OF(rows));
        for (size_t i = 0; i < n; i++) {
                snprintf(line, sizeof line, "fallback: %s %s: %llu", rows[i].pages,
                         rows[i].reason, (unsigned long long)rows[i].count);
                put(to, line);
        }
}

static void write_all(line_fn *put, void *to)
{
        write_reserve(put, to);
        write_backing(put, to);
        write_fallbacks(put, to);
}

static void say_line(void *unused, const char *line)
{
        (void)unused;
        pld_say("%s", line);
}

void pld_report_say(void)
{
        write_all(say_line, NULL);
}

static void print_line(void *to, const char *line)
{
        fputs(line, to);
        fputc('\n', to);
}

int polder_backing_print(FILE *to)
{
        write_all(print_line, to);
        return ferror(to) ? -EIO : 0;
}
