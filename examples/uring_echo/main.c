/* main.c: uring_echo, a TCP server that sends back what it is sent.
 *
 * Memory is had before traffic: Polder reserves and populates it, the ring registers
 * it, and from then on neither malloc nor the kernel's I/O looks for a page. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <liburing.h>
#include <netinet/in.h>
#include <polder/start.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "examples/options.h"
#include "examples/uring_echo/buffers.h"
#include "examples/uring_echo/echo.h"

enum {
        PORT_MAX = 65535,
        CONNECTIONS_MAX = 100000,
        BACKLOG = 511,
        OPERATIONS = 1024, /* between two submissions, without one more */
        SPARE_FILES = 64
};

const char program_name[] = "uring_echo";

static unsigned long port = 7777, connections = 1000;

static const char help[] =
    "uring_echo sends back what comes over TCP, by io_uring and from registered memory.\n"
    "\n"
    "  --port N         listen on this TCP port of 127.0.0.1 (7777); 0 takes any free one\n"
    "  --connections N  serve so many at a time (1000)\n"
    "  --help           print this\n";

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *format, ...)
{
        va_list args;
        va_start(args, format);
        fprintf(stderr, "%s: ", program_name);
        vfprintf(stderr, format, args);
        fprintf(stderr, "\n");
        va_end(args);
        exit(1);
}

static void parse_options(int argc, char **argv)
{
        static const struct option options[] = {
                { "port", required_argument, NULL, 'p' },
                { "connections", required_argument, NULL, 'c' },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                switch (option) {
                case 'p':
                        port = options_number("port", optarg, 0, PORT_MAX);
                        break;
                case 'c':
                        connections = options_number("connections", optarg, 1, CONNECTIONS_MAX);
                        break;
                case 'h':
                        fputs(help, stdout);
                        exit(0);
                default:
                        exit(2);
                }
        }
        if (optind < argc)
                options_refuse("no argument like '%s' is known", argv[optind]);
}

/* SIGINT and SIGTERM are read like a message. Before there are threads, which inherit it. */
static int take_signals(void)
{
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signal(SIGPIPE, SIG_IGN);
        return signalfd(-1, &set, SFD_CLOEXEC);
}

static void raise_file_limit(void)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < connections + SPARE_FILES) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
        }
}

/* Half of the reserve is buffers, should all places be taken. */
static void reserve_memory(void)
{
        struct polder_options options;
        polder_options_init(&options);
        size_t least = 2 * connections * ECHO_BUFFER_BYTES;
        if (options.reserve < least)
                options.reserve = least;
        options.prefault = true;
        options.decay_ms = -1; /* what is registered stays */
        int error = polder_init(&options);
        if (!error)
                error = polder_prefault_wait();
        if (error)
                fail("%zu bytes are not to be had: %s", options.reserve, strerror(-error));
}

static void make_ring(struct io_uring *ring)
{
        int error = io_uring_queue_init(OPERATIONS, ring, 0);
        if (error == -EPERM || error == -EACCES || error == -ENOSYS)
                fail("io_uring is not to be had here: %s. Is it turned off by the sysctl "
                     "kernel.io_uring_disabled, or by a container's seccomp filter?",
                     strerror(-error));
        if (error)
                fail("no io_uring: %s", strerror(-error));
        error = buffers_register(ring);
        if (error == -ENOMEM)
                fail("%zu bytes cannot be pinned for io_uring: is `ulimit -l` too low?",
                     buffers_nbytes());
        if (error)
                fail("fixed buffers cannot be registered: %s", strerror(-error));
}

static int make_listener(void)
{
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_port = htons((uint16_t)port),
                                       .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t length = sizeof address;
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
        if (bind(listener, (struct sockaddr *)&address, sizeof address) ||
            listen(listener, BACKLOG) ||
            getsockname(listener, (struct sockaddr *)&address, &length))
                fail("port %lu cannot be listened on: %s", port, strerror(errno));
        port = ntohs(address.sin_port);
        return listener;
}

int main(int argc, char **argv)
{
        struct io_uring ring;
        struct echo_totals totals = { 0 };
        parse_options(argc, argv);
        int signals = take_signals();
        raise_file_limit();
        reserve_memory();
        make_ring(&ring);
        int listener = make_listener();
        printf("uring_echo: %zu MiB registered in %u fixed buffers\n", buffers_nbytes() >> 20,
               buffers_count());
        printf("uring_echo: listening on 127.0.0.1:%lu\n", port);
        fflush(stdout);
        int error = echo_serve(&ring, listener, signals, connections, &totals);
        io_uring_queue_exit(&ring);
        if (error)
                fail("the ring failed: %s", strerror(-error));
        printf("uring_echo: %lu connections, %llu bytes sent back\n", totals.connections,
               totals.nbytes);
        return 0;
}
