/* atomic.h: C11 atomics with the memory order in the name.
 *
 * Nothing else in the project spells an order out, so that a search for
 * `_release` finds every publication, and `_seq_cst` every place that needs a
 * drawn interleaving. An access that is `_relaxed` promises a value that was
 * once there, whole, and nothing about other memory. */
#ifndef PLD_BASE_ATOMIC_H
#define PLD_BASE_ATOMIC_H

#include <stdatomic.h>

#define pld_load_relaxed(at) atomic_load_explicit((at), memory_order_relaxed)
#define pld_load_acquire(at) atomic_load_explicit((at), memory_order_acquire)
#define pld_load_seq_cst(at) atomic_load_explicit((at), memory_order_seq_cst)

#define pld_store_relaxed(at, v) atomic_store_explicit((at), (v), memory_order_relaxed)
#define pld_store_release(at, v) atomic_store_explicit((at), (v), memory_order_release)
#define pld_store_seq_cst(at, v) atomic_store_explicit((at), (v), memory_order_seq_cst)

#define pld_exchange_relaxed(at, v) atomic_exchange_explicit((at), (v), memory_order_relaxed)
#define pld_exchange_acquire(at, v) atomic_exchange_explicit((at), (v), memory_order_acquire)
#define pld_exchange_acq_rel(at, v) atomic_exchange_explicit((at), (v), memory_order_acq_rel)
#define pld_exchange_seq_cst(at, v) atomic_exchange_explicit((at), (v), memory_order_seq_cst)

#define pld_add_relaxed(at, v) atomic_fetch_add_explicit((at), (v), memory_order_relaxed)
#define pld_add_acq_rel(at, v) atomic_fetch_add_explicit((at), (v), memory_order_acq_rel)
#define pld_add_release(at, v) atomic_fetch_add_explicit((at), (v), memory_order_release)
#define pld_sub_relaxed(at, v) atomic_fetch_sub_explicit((at), (v), memory_order_relaxed)
#define pld_sub_acq_rel(at, v) atomic_fetch_sub_explicit((at), (v), memory_order_acq_rel)
#define pld_or_relaxed(at, v) atomic_fetch_or_explicit((at), (v), memory_order_relaxed)
#define pld_or_release(at, v) atomic_fetch_or_explicit((at), (v), memory_order_release)
#define pld_or_acq_rel(at, v) atomic_fetch_or_explicit((at), (v), memory_order_acq_rel)
#define pld_and_relaxed(at, v) atomic_fetch_and_explicit((at), (v), memory_order_relaxed)
#define pld_and_release(at, v) atomic_fetch_and_explicit((at), (v), memory_order_release)

/* Compare and exchange; *expected is updated on failure. The first order is
 * that of success, failure is always relaxed unless the name ends in acquire. */
#define pld_cas_relaxed(at, expected, v)                                                       \
        atomic_compare_exchange_strong_explicit((at), (expected), (v), memory_order_relaxed,   \
                                                memory_order_relaxed)
#define pld_cas_acquire(at, expected, v)                                                       \
        atomic_compare_exchange_strong_explicit((at), (expected), (v), memory_order_acquire,   \
                                                memory_order_acquire)
#define pld_cas_acq_rel(at, expected, v)                                                       \
        atomic_compare_exchange_strong_explicit((at), (expected), (v), memory_order_acq_rel,   \
                                                memory_order_acquire)
#define pld_cas_seq_cst(at, expected, v)                                                       \
        atomic_compare_exchange_strong_explicit((at), (expected), (v), memory_order_seq_cst,   \
                                                memory_order_seq_cst)
#define pld_cas_weak_release(at, expected, v)                                                  \
        atomic_compare_exchange_weak_explicit((at), (expected), (v), memory_order_release,     \
                                              memory_order_relaxed)

#define pld_fence_acquire() atomic_thread_fence(memory_order_acquire)
#define pld_fence_release() atomic_thread_fence(memory_order_release)
#define pld_fence_seq_cst() atomic_thread_fence(memory_order_seq_cst)
/* Orders accesses against a signal handler on the same thread only. */
#define pld_fence_signal() atomic_signal_fence(memory_order_seq_cst)

/* Tells the processor that this is a spinning loop. */
static inline void pld_pause(void)
{
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ __volatile__("yield");
#endif
}

#endif
