/* backing.h: putting memory of a node under a piece of the range.
 *
 * A chain of kinds is tried in order, and each step that is left is counted with
 * its reason: nothing falls back silently. */
#ifndef PLD_NUMA_BACKING_H
#define PLD_NUMA_BACKING_H

#include "numa/kind.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* pages: kinds in the order to try, such as "2M,thp,base"; NULL: "thp,base".
 * -EINVAL with one line on standard error, and nothing changed. Thread-safe. */
int pld_backing_start(const char *pages);
/* The chain begins with 1G. */
bool pld_backing_has_1g(void);

/* Backs nbytes (a multiple of 2 MiB; at likewise, inside the range, not backed)
 * with memory of the node: all of one kind, zeroed, populated, bound to the node,
 * and seen to lie there. -ENOMEM when no step of the chain worked on this node:
 * the piece is then without access again. No lock is held over system calls. */
int pld_back(void *at, size_t nbytes, unsigned node, enum pld_backing *out);
/* The same for 1 GiB at a multiple of that, by one 1G page, if the chain has them;
 * -ENOMEM otherwise. It is never given back, or all of it at once. */
int pld_back_1g(void *at, unsigned node);
/* A 1G page was wished for, and there was nowhere to put it. */
void pld_back_1g_missed(void);
/* As pld_back(), without populating: base pages come at their first touch (huge ones only where
 * the chain has no others). -EAGAIN, and nothing changed, where
 * that would not be safe: pages of a pool, a node that is filling up, memory that is to be
 * locked, or a place that could not be told beforehand. Then pld_back() is to be asked. */
int pld_back_lazily(void *at, size_t nbytes, unsigned node, enum pld_backing *out);
/* Any part of what is backed: every page is there afterwards. -ENOMEM. */
int pld_populate(void *at, size_t nbytes);
/* Whole base pages of what is backed as THP or BASE go back, and are zero when touched again. */
int pld_drop(void *at, size_t nbytes);
/* Base pages that fill a huge page, all in use: if most of it has been touched it is to be a
 * transparent huge page, now or when the kernel comes to it. It stays BASE in the books.
 * False: it stays what it is. *done: it is huge now, as far as the kernel tells. */
bool pld_make_huge(void *at, bool now, bool *done);
/* In the books a huge page that was BASE is THP, or was THP and is BASE. */
void pld_book_huge(void *at, bool huge);
void pld_make_small(void *at); /* no more, so that its parts can be dropped */
/* A transparent huge page becomes BASE: so its parts can be dropped, and stay so. */
int pld_break(void *at);
/* The physical pages go back to the kernel, the addresses stay reserved. kind and
 * node of one call are those of one pld_back() or of whole huge pages of it. */
void pld_unback(void *at, size_t nbytes, enum pld_backing kind);

/* Moves whole huge pages, backed by that kind and in use, to another node, and binds them
 * there; what they hold stays. 0, or they are where they were: -ENOMEM, the node has too
 * little memory; -EINVAL, it is not allowed; -EPERM, binding is forbidden; -EBUSY, the
 * kernel would not move them all: pages that are pinned, or shared with a forked child. */
int pld_rehome(void *at, size_t nbytes, unsigned node, enum pld_backing kind);

/* How often a step of the chain was left for this reason, and over all. Relaxed
 * counters: each value was true once. */
uint64_t pld_backing_fallbacks(enum pld_backing left, enum pld_reason why);
uint64_t pld_backing_fallbacks_total(void);
/* Huge pages' worth of memory that was found on another node than asked for and
 * given back again. */
uint64_t pld_backing_misplaced(void);
/* Backed now, by node and kind. */
size_t pld_backing_bytes(unsigned node, enum pld_backing kind);
/* Of those, what cannot be paged out: locked, or of a pool. */
size_t pld_backing_locked_bytes(unsigned node, enum pld_backing kind);

#endif
