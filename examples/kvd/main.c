/* main.c: kvd's command line, start and end. */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

#include "examples/kvd/command.h"
#include "examples/kvd/memory.h"
#include "examples/kvd/server.h"
#include "examples/kvd/settings.h"
#include "examples/kvd/store.h"
#include "examples/kvd/tally.h"
#include "examples/options.h"

const char program_name[] = "kvd";

enum { PORT_MAX = 65535, CLIENTS_MAX = 1000000, SPARE_FILES = 256 };

struct settings settings = {
        .address = "127.0.0.1",
        .port = 6379,
        .max_clients = 10000,
};

/* --- Options ---------------------------------------------------------------------------- */

static const char help[] =
    "kvd keeps keys and values in memory and speaks the Redis protocol (RESP2).\n"
    "\n"
    "  --port N         listen on this TCP port (6379); 0 takes any free one\n"
    "  --bind ADDRESS   listen on this IPv4 or IPv6 address (127.0.0.1)\n"
    "  --threads N      worker threads (one a CPU)\n"
    "  --maxclients N   connections served at a time (10000)\n"
    "  --maxmemory SIZE evict the least recently used keys beyond this, counted in bytes\n"
    "                   of keys and values; 100m, 2g (no bound)\n"
    "  --help           print this\n";

static size_t parse_size(const char *option, const char *text)
{
        static const struct {
                const char *suffix;
                unsigned shift;
        } units[] = { { "", 0 },   { "b", 0 },   { "k", 10 }, { "kb", 10 },
                      { "m", 20 }, { "mb", 20 }, { "g", 30 }, { "gb", 30 } };
        char *end;
        errno = 0;
        unsigned long long number = strtoull(text, &end, 10);
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
                if (strcasecmp(end, units[i].suffix) != 0 || text[0] < '0' || text[0] > '9')
                        continue;
                if (errno == 0 && number <= ((unsigned long long)PTRDIFF_MAX >> units[i].shift))
                        return (size_t)number << units[i].shift;
        }
        options_refuse("--%s takes a size like 64m or 2g, not '%s'", option, text);
}

static unsigned default_threads(void)
{
        cpu_set_t cpus;
        if (sched_getaffinity(0, sizeof cpus, &cpus) != 0)
                return 1;
        unsigned count = (unsigned)CPU_COUNT(&cpus);
        return count < TALLY_WORKERS ? count : TALLY_WORKERS;
}

static void parse_options(int argc, char **argv)
{
        enum { PORT, BIND, THREADS, MAX_CLIENTS, MAX_MEMORY, HELP };
        static const struct option options[] = {
                { "port", required_argument, NULL, PORT },
                { "bind", required_argument, NULL, BIND },
                { "threads", required_argument, NULL, THREADS },
                { "maxclients", required_argument, NULL, MAX_CLIENTS },
                { "maxmemory", required_argument, NULL, MAX_MEMORY },
                { "help", no_argument, NULL, HELP },
                { 0 },
        };
        int option;

        opterr = 0;
        while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
                switch (option) {
                case PORT:
                        settings.port = (int)options_number("port", optarg, 0, PORT_MAX);
                        break;
                case BIND:
                        settings.address = optarg;
                        break;
                case THREADS:
                        settings.threads =
                            (unsigned)options_number("threads", optarg, 1, TALLY_WORKERS);
                        break;
                case MAX_CLIENTS:
                        settings.max_clients =
                            (unsigned)options_number("maxclients", optarg, 1, CLIENTS_MAX);
                        break;
                case MAX_MEMORY:
                        settings.max_memory = parse_size("maxmemory", optarg);
                        break;
                case HELP:
                        fputs(help, stdout);
                        exit(0);
                case ':':
                        options_refuse("%s takes a value", argv[optind - 1]);
                default:
                        options_refuse("there is no option %s", argv[optind - 1]);
                }
        }
        if (optind < argc)
                options_refuse("'%s' is not an option", argv[optind]);
        if (settings.threads == 0)
                settings.threads = default_threads();
}

/* --- Start and end ------------------------------------------------------------------------ */

/* A descriptor for every client, or fewer clients. */
static void fit_clients_to_files(void)
{
        struct rlimit files;
        rlim_t wanted = settings.max_clients + SPARE_FILES;
        if (getrlimit(RLIMIT_NOFILE, &files) != 0)
                return;
        if (files.rlim_cur < wanted) {
                files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
                setrlimit(RLIMIT_NOFILE, &files);
        }
        if (files.rlim_cur >= wanted)
                return;
        settings.max_clients = files.rlim_cur > 2 * SPARE_FILES
                                   ? (unsigned)(files.rlim_cur - SPARE_FILES)
                                   : (unsigned)(files.rlim_cur / 2);
        fprintf(stderr, "kvd: open files are limited to %lu: at most %u clients\n",
                (unsigned long)files.rlim_cur, settings.max_clients);
}

/* Held back in every thread: main() waits for them. */
static void hold_signals(sigset_t *ends)
{
        sigemptyset(ends);
        sigaddset(ends, SIGINT);
        sigaddset(ends, SIGTERM);
        pthread_sigmask(SIG_BLOCK, ends, NULL);
        signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
        sigset_t ends;
        int signal_number;

        parse_options(argc, argv);
        fit_clients_to_files();
        hold_signals(&ends);
        commands_start();
        int err = memory_start();
        if (err == 0)
                err = store_start(settings.max_memory);
        if (err) {
                fprintf(stderr, "kvd: cannot start: %s\n", strerror(-err));
                return 1;
        }
        settings.started_ms = store_now_ms();
        if (server_start() != 0)
                return 1;
        printf("kvd: ready on %s port %d, %u threads, memory by %s\n", settings.address,
               settings.port, settings.threads, memory_name);
        fflush(stdout);
        sigwait(&ends, &signal_number);
        server_stop();
        printf("kvd: closed\n");
        return 0;
}
