/* stats.h: what is going on. */
#ifndef POLDER_STATS_H
#define POLDER_STATS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct polder_stats {
        size_t struct_size;        /* set by the caller: sizeof(struct polder_stats) */
        uint64_t cycles;           /* collections done */
        uint64_t stops;            /* times that threads were held: all of them, or some
                                      * for a while, when another was too long in coming */
        uint64_t stop_ns_total, stop_ns_max;
        uint64_t handshake_ns_max; /* from asking all threads for a step to the last answer */
        uint64_t stall_ns_max;     /* longest time an allocation spent assisting or waiting */
        uint64_t mark_ns_total;    /* spent marking, by workers and assists */
        uint64_t swept_bytes;      /* freed by sweeping, ever */
        uint64_t allocated_bytes;  /* of collected objects, ever */
        uint64_t assists;
        size_t live_bytes;         /* marked by the last collection */
        size_t heap_bytes;         /* live, and allocated since */
        size_t goal_bytes;         /* the heap at which the running or next collection should end */
        size_t resident_bytes;     /* backed by physical pages */
        size_t huge_bytes;         /* of those, by huge pages */
        uint64_t fallbacks;        /* steps down the backing chain */
        uint64_t misplaced_pages;  /* huge pages found on a wrong node, and given back */
        uint64_t young_cycles;     /* of `cycles`, those that left old objects alone */
        uint64_t young_bytes;      /* of objects that young cycles have looked at, ever */
        uint64_t promoted_bytes;   /* of these, what lived, and is old since */
        uint64_t noted_slots;      /* of old objects, which young cycles began with */
        size_t old_bytes;          /* in old objects; 0 while the next cycle is a full one */
        uint64_t finalizers_called; /* that have returned */
        size_t finalizers_pending; /* due, and waiting for the one that runs, if one does */
};

/* Fills in as much as stats->struct_size has room for; 0, or -EINVAL. */
int polder_stats_read(struct polder_stats *stats);
/* Of one node. Those that end in _bytes are bytes. */
struct polder_node_stats {
        size_t struct_size;          /* set by the caller */
        int node;                    /* the kernel's number */
        size_t tier;                 /* 0; 1: without CPUs, taken last or when asked for */
        size_t allowed;              /* 1; 0: a cpuset, or unplugging, took it from the process */
        size_t total_bytes;          /* of the node when Polder started, whoever uses it */
        size_t backed_1g_bytes, backed_2m_bytes, backed_thp_bytes, backed_base_bytes;
        size_t locked_bytes;         /* of these */
        size_t used_bytes;           /* in blocks, objects and regions, and beside them in spans */
        size_t idle_bytes;           /* in huge pages of which nothing is in use */
        uint64_t allocated_bytes;    /* ever, by spans */
        uint64_t foreign_bytes;      /* of these, wanted on another node that had none */
        uint64_t missed_bytes;       /* wanted on this node, and found on another */
        uint64_t freed_abroad_bytes; /* of small blocks, by threads on other nodes */
        uint64_t arrivals;           /* of threads that came with memory of another node */
};

/* 0; -EINVAL for a size that is not known; -ENOENT for a node that Polder does not use,
 * or before it has started. */
int polder_node_stats_read(int node, struct polder_node_stats *stats);
/* Everything: what is above, the same of each node, and the histograms.
 * format: "text", "json" or "prometheus"; 0, -EINVAL, or -EIO. */
int polder_stats_print(FILE *to, const char *format);

/* Writes down what keeps a collected object alive, as lines of text: the shortest chain from a
 * root to the object, one holder a line. object: any address inside it. Holds all attached
 * threads for as long as it takes to look through what is alive (not while it writes), and
 * waits for a collection that is under way. 0; -ENOENT, with a line that says so, where
 * nothing leads to the object and the next collection takes it; -EINVAL where it is
 * no collected object; -ENOMEM, with nothing written; -EIO when writing failed. */
int polder_why(const void *object, FILE *to);

/* Times that are kept as histograms, from the start of the process on. An allocation's
 * stall is the sum of what it waited for; each cause is kept by itself, too. */
enum polder_histogram_kind {
        POLDER_STOP,          /* threads held at once; those given up count, too */
        POLDER_STOP_CPU,      /* CPU time of the cycle's thread in each; with gctrace only */
        POLDER_HANDSHAKE,     /* from asking all threads for a step to the last answer */
        POLDER_STALL,         /* of allocations, whatever the cause */
        POLDER_STALL_ASSIST,  /* marking, to pay for what was allocated */
        POLDER_STALL_PACE,    /* waiting while the heap is far past its goal */
        POLDER_STALL_REFILL,  /* finding the next span of objects */
        POLDER_STALL_SWEEP,   /* sweeping spans for that */
        POLDER_STALL_GROW,    /* waiting for the kernel's memory; malloc's as well */
        POLDER_STALL_RELEASE, /* giving memory back, to stay below a hard limit */
        POLDER_STALL_LARGE,   /* finding and zeroing the pages of a large object */
        POLDER_STALL_COLLECT, /* waiting for a collection, as there was no memory */
        POLDER_HISTOGRAMS     /* how many there are */
};

/* Percentiles are known to one part in 16, rounded up; the sum and the maximum exactly. */
struct polder_histogram {
        size_t struct_size; /* set by the caller */
        uint64_t count, sum_ns, max_ns;
        uint64_t p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns;
};

struct polder_histogram_bucket {
        uint64_t upto_ns; /* values up to this, and above the bucket before */
        uint64_t count;
};

/* 0, or -EINVAL for a kind or a size that is not known. Thread-safe, as all here. */
int polder_histogram_read(enum polder_histogram_kind kind, struct polder_histogram *out);
/* Fills in at most n of the buckets with anything in them, the shortest times first, and
 * returns how many there are; there are never more than 592. */
size_t polder_histogram_buckets(enum polder_histogram_kind kind,
                                struct polder_histogram_bucket *out, size_t n);
/* Such as "stop" or "stall_assist"; NULL for a kind that is not known. */
const char *polder_histogram_name(enum polder_histogram_kind kind);

/* What memory is made of: one row for each node and kind of pages of which there is any. */
struct polder_backing {
        int node;            /* the kernel's number */
        const char *pages;   /* "1G", "2M", "thp" or "base" */
        size_t bytes;        /* backed now */
        size_t locked_bytes; /* of those, what cannot be paged out */
};

/* Why memory is not made of what was asked for: steps down the chain of POLDER_PAGES, and
 * what had to be done without. polder(7) has the reasons. */
struct polder_fallback {
        const char *pages;  /* what was left */
        const char *reason; /* such as "pool-empty" */
        uint64_t count;     /* since the start */
};

/* Fill in at most n rows, and return how many there are. Each row was true at some moment.
 * Before Polder has started there is none. */
size_t polder_backing_read(struct polder_backing *out, size_t n);
size_t polder_fallbacks_read(struct polder_fallback *out, size_t n);
/* Both tables, and what became of the reserve, as text; 0 or -EIO. */
int polder_backing_print(FILE *to);

#ifdef __cplusplus
}
#endif

#endif
