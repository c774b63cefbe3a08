/* load.h: what the loads of bench/collectors share: settings, clocks, threads, waits. */
#ifndef BENCH_COLLECTORS_LOAD_H
#define BENCH_COLLECTORS_LOAD_H

#include "bench/collectors/memory.h"
#include "bench/own.h"

#include <time.h>

enum { MAX_THREADS = 64 };

struct setting {
        const char *shape; /* of a graph */
        const char *mode;  /* of a collection: concurrent, stopped */
        uint64_t count;    /* of entries, nodes, objects, MiB: the load's own */
        size_t nbytes;
        unsigned depth, threads;
        double seconds;
        double rate;         /* operations a second of all threads; 0: as fast as can be */
        unsigned spin;       /* wait for the next operation without sleeping */
        unsigned cycles;     /* collections to measure; for the cache: without end, if not 0 */
        unsigned operations; /* a thread; 0: for so many seconds */
};

/* A load runs, checks what it did, and says what it found. */
struct load {
        const char *name;
        void (*run)(const struct setting *setting);
};

void run_trees(const struct setting *setting);
void run_mix(const struct setting *setting);
void run_cache(const struct setting *setting);
void run_graph(const struct setting *setting);
void run_die(const struct setting *setting);
void run_old(const struct setting *setting);
void run_stops(const struct setting *setting);
void run_halts(const struct setting *setting);
void run_stores(const struct setting *setting);

/* One more NAME=VALUE of the line that the program prints at its end. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line of its own, now. */
void say_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Calls body(setting, i) in threads 0 … n - 1, attached; `meanwhile`, if any, by the calling
 * thread every few milliseconds until all have ended. */
void in_threads(const struct setting *setting, unsigned n,
                void (*body)(const struct setting *, unsigned), void (*meanwhile)(void));
/* The threads of in_threads() wait for each other; the last one to come calls `all`, if any. */
void meet(void (*all)(void));

static inline uint64_t now_ns(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t process_cpu_ns(void);
uint64_t thread_cpu_ns(void);
size_t resident_kib(void);

/* CPU time of the threads of in_threads(), which is the program's own: the rest is the
 * collector's. */
uint64_t mutator_cpu_ns(void);

/* Sizes between low and high, as many between 2^n and 2^(n+1) for each n; multiples of 8. */
enum { SIZES = 1 << 13 };
void fill_sizes(uint32_t sizes[static SIZES], size_t low, size_t high, uint64_t seed);

#endif
