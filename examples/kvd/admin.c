/* admin.c: commands on the connection and the server.
 *
 * Clients greet a server with questions about itself (HELLO, CLIENT, CONFIG GET);
 * they are answered as far as a cache without replication, disk or users has an answer. */
#include "examples/kvd/admin.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "examples/kvd/command.h"
#include "examples/kvd/memory.h"
#include "examples/kvd/settings.h"
#include "examples/kvd/store.h"
#include "examples/kvd/tally.h"

/* The release whose clients we talk to; what it cannot do is refused by name. */
#define REDIS_VERSION "7.0.0"

static void reply_unknown_subcommand(struct call *call)
{
        reply_error(call->reply, "ERR unknown subcommand '%.*s'",
                    (int)(call->args[1].len < 64 ? call->args[1].len : 64), call->args[1].data);
}

/* --- The connection --------------------------------------------------------------------- */

void command_ping(struct call *call)
{
        if (call->argc > 1)
                reply_bulk(call->reply, call->args[1].data, call->args[1].len);
        else
                reply_simple(call->reply, "PONG");
}

void command_echo(struct call *call)
{
        reply_bulk(call->reply, call->args[1].data, call->args[1].len);
}

void command_select(struct call *call)
{
        int64_t index;
        if (!call_integer(call, 1, &index))
                return;
        if (index == 0)
                reply_simple(call->reply, "OK");
        else
                reply_error(call->reply, "ERR DB index is out of range");
}

void command_quit(struct call *call)
{
        call->quit = true;
        reply_simple(call->reply, "OK");
}

void command_hello(struct call *call)
{
        if (call->argc > 1 && !arg_is(call->args[1], "2")) {
                reply_error(call->reply, "NOPROTO unsupported protocol version");
                return;
        }
        reply_array(call->reply, 14);
        reply_text(call->reply, "server");
        reply_text(call->reply, "redis");
        reply_text(call->reply, "version");
        reply_text(call->reply, REDIS_VERSION);
        reply_text(call->reply, "proto");
        reply_integer(call->reply, 2);
        reply_text(call->reply, "id");
        reply_integer(call->reply, (int64_t)call->client);
        reply_text(call->reply, "mode");
        reply_text(call->reply, "standalone");
        reply_text(call->reply, "role");
        reply_text(call->reply, "master");
        reply_text(call->reply, "modules");
        reply_array(call->reply, 0);
}

void command_client(struct call *call)
{
        struct arg what = call->args[1];
        if (arg_is(what, "ID"))
                reply_integer(call->reply, (int64_t)call->client);
        else if (arg_is(what, "GETNAME"))
                reply_nil(call->reply);
        else if (arg_is(what, "SETNAME") || arg_is(what, "SETINFO") || arg_is(what, "NO-EVICT") ||
                 arg_is(what, "NO-TOUCH"))
                reply_simple(call->reply, "OK");
        else
                reply_unknown_subcommand(call);
}

/* --- CONFIG ----------------------------------------------------------------------------- */

struct parameter {
        const char *name;
        char value[32];
};

static size_t parameters(struct parameter list[static 8])
{
        const struct parameter fixed[] = {
                { "save", "" },
                { "appendonly", "no" },
                { "databases", "1" },
                { "maxmemory-policy", "allkeys-lru" },
        };
        size_t count = sizeof fixed / sizeof *fixed;
        memcpy(list, fixed, sizeof fixed);
        list[count].name = "maxmemory";
        snprintf(list[count++].value, sizeof list->value, "%zu", settings.max_memory);
        list[count].name = "maxclients";
        snprintf(list[count++].value, sizeof list->value, "%u", settings.max_clients);
        list[count].name = "port";
        snprintf(list[count++].value, sizeof list->value, "%d", settings.port);
        list[count].name = "threads";
        snprintf(list[count++].value, sizeof list->value, "%u", settings.threads);
        return count;
}

static bool asked_for(struct call *call, const char *name)
{
        for (size_t i = 2; i < call->argc; i++) {
                char pattern[64];
                snprintf(pattern, sizeof pattern, "%.*s",
                         (int)(call->args[i].len < 64 ? call->args[i].len : 64),
                         call->args[i].data);
                if (fnmatch(pattern, name, FNM_CASEFOLD) == 0)
                        return true;
        }
        return false;
}

static void config_get(struct call *call)
{
        struct parameter list[8];
        size_t count = parameters(list), found = 0;
        for (size_t i = 0; i < count; i++)
                found += asked_for(call, list[i].name);
        reply_array(call->reply, 2 * found);
        for (size_t i = 0; i < count; i++) {
                if (asked_for(call, list[i].name)) {
                        reply_text(call->reply, list[i].name);
                        reply_text(call->reply, list[i].value);
                }
        }
}

void command_config(struct call *call)
{
        if (arg_is(call->args[1], "GET") && call->argc > 2)
                config_get(call);
        else if (arg_is(call->args[1], "SET"))
                reply_error(call->reply, "ERR settings are given on the command line");
        else
                reply_unknown_subcommand(call);
}

/* --- INFO ------------------------------------------------------------------------------- */

struct text {
        char data[8192];
        size_t len;
};

static void print(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct text *text, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        int len = vsnprintf(text->data + text->len, sizeof text->data - text->len, format, args);
        va_end(args);
        if (len > 0 && text->len + (size_t)len < sizeof text->data)
                text->len += (size_t)len;
}

static void print_server(struct text *text)
{
        print(text, "# Server\r\nredis_version:" REDIS_VERSION "\r\nredis_mode:standalone\r\n");
        print(text, "process_id:%d\r\ntcp_port:%d\r\nio_threads:%u\r\n", (int)getpid(),
              settings.port, settings.threads);
        print(text, "uptime_in_seconds:%" PRId64 "\r\n",
              (store_now_ms() - settings.started_ms) / 1000);
}

static void print_clients(struct text *text)
{
        print(text, "# Clients\r\nconnected_clients:%" PRIu64 "\r\nmaxclients:%u\r\n",
              tally_sum(TALLY_CONNECTIONS) - tally_sum(TALLY_CLOSED), settings.max_clients);
}

static size_t resident_nbytes(void)
{
        size_t npages = 0;
        FILE *file = fopen("/proc/self/statm", "re");
        if (file) {
                if (fscanf(file, "%*u %zu", &npages) != 1)
                        npages = 0;
                fclose(file);
        }
        return npages * (size_t)sysconf(_SC_PAGESIZE);
}

static void print_memory(struct text *text)
{
        print(text, "# Memory\r\nused_memory:%zu\r\nused_memory_rss:%zu\r\nmaxmemory:%zu\r\n",
              store_nbytes(), resident_nbytes(), settings.max_memory);
        print(text, "maxmemory_policy:allkeys-lru\r\nmem_allocator:%s\r\n", memory_name);
}

static void print_allocator(struct text *text)
{
        int len = memory_describe(text->data + text->len, sizeof text->data - text->len);
        if (len > 0 && text->len + (size_t)len < sizeof text->data)
                text->len += (size_t)len;
}

static void print_stats(struct text *text)
{
        static const struct {
                const char *name;
                enum tally which;
        } lines[] = {
                { "total_connections_received", TALLY_CONNECTIONS },
                { "rejected_connections", TALLY_REJECTED },
                { "total_commands_processed", TALLY_COMMANDS },
                { "keyspace_hits", TALLY_HITS },
                { "keyspace_misses", TALLY_MISSES },
                { "expired_keys", TALLY_EXPIRED },
                { "evicted_keys", TALLY_EVICTED },
        };
        print(text, "# Stats\r\n");
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
                print(text, "%s:%" PRIu64 "\r\n", lines[i].name, tally_sum(lines[i].which));
}

static void print_cpu(struct text *text)
{
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        print(text, "# CPU\r\nused_cpu_sys:%ld.%06ld\r\nused_cpu_user:%ld.%06ld\r\n",
              usage.ru_stime.tv_sec, usage.ru_stime.tv_usec, usage.ru_utime.tv_sec,
              usage.ru_utime.tv_usec);
}

static void print_keyspace(struct text *text)
{
        size_t count = store_count();
        print(text, "# Keyspace\r\n");
        if (count)
                print(text, "db0:keys=%zu,expires=%zu,avg_ttl=0\r\n", count,
                      store_count_expiring());
}

static const struct {
        const char *name;
        void (*print)(struct text *text);
} sections[] = {
        { "server", print_server },       { "clients", print_clients }, { "memory", print_memory },
        { "allocator", print_allocator }, { "stats", print_stats },     { "cpu", print_cpu },
        { "keyspace", print_keyspace },
};

static bool section_asked_for(struct call *call, const char *name)
{
        for (size_t i = 1; i < call->argc; i++) {
                if (arg_is(call->args[i], name) || arg_is(call->args[i], "all") ||
                    arg_is(call->args[i], "everything") || arg_is(call->args[i], "default"))
                        return true;
        }
        return call->argc == 1;
}

void command_info(struct call *call)
{
        struct text text;
        text.len = 0;
        for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
                if (!section_asked_for(call, sections[i].name))
                        continue;
                if (text.len)
                        print(&text, "\r\n");
                sections[i].print(&text);
        }
        reply_bulk(call->reply, text.data, text.len);
}

/* --- MEMORY ----------------------------------------------------------------------------- */

void command_memory(struct call *call)
{
        if (arg_is(call->args[1], "PURGE")) {
                memory_purge();
        } else if (arg_is(call->args[1], "COLLECT")) { /* kvd's own: the bench asks for cycles */
                memory_collect();
        } else {
                reply_unknown_subcommand(call);
                return;
        }
        reply_simple(call->reply, "OK");
}
