/* collected.h: memory without an owner.
 *
 * THE RULE
 * 1 Stacks and registers of attached threads are free of charge.
 * 2 Every other slot that holds a pointer to a collected object is written with
 *   polder_store() or its kin, and lies in a collected object or in registered
 *   root memory. Thread-local variables, statics, malloc'ed memory, regions and
 *   pthread_create()'s argument are none of that unless registered.
 * 3 A thread's newest object may be filled with plain stores, each slot once,
 *   over its zero, until that thread's next call into Polder.
 * Interior pointers from stacks and conservative objects keep an object alive;
 * slots of precise objects hold an object's first byte or NULL.
 *
 * The barrier is a hybrid: it shades what a store overwrites, and what it
 * stores while the thread's stack is not yet scanned (after Go's proposal 17503). */
#ifndef POLDER_COLLECTED_H
#define POLDER_COLLECTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Layouts ------------------------------------------------------------------ */

struct polder_layout; /* where the pointers of an object are; lives for ever */

#ifdef __cplusplus
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* of a constructor, by the function of that name */
#endif
/* nbytes: object size; pointer_bits: bit i % 64 of word i / 64 is set where the
 * object's i-th 8-byte word is a pointer; NULL: none. Equal layouts are the
 * same layout. NULL with ENOMEM, or EINVAL for nbytes 0. */
const struct polder_layout *polder_layout(size_t nbytes, const uint64_t *pointer_bits);
#ifdef __cplusplus
#pragma GCC diagnostic pop
#endif
/* The same from the offsets of the pointers, multiples of 8 below nbytes. */
const struct polder_layout *polder_layout_of(size_t nbytes, const size_t *offsets, size_t count);

#ifndef __cplusplus
/* POLDER_LAYOUT(struct entry, next, value): the layout whose pointers are those fields. */
#define POLDER_LAYOUT(type, ...)                                                               \
        polder_layout_of(sizeof(type),                                                         \
                         (const size_t[]){ POLDER_OFFSETS_(type, __VA_ARGS__) },               \
                         sizeof((const size_t[]){ POLDER_OFFSETS_(type, __VA_ARGS__) }) /      \
                                 sizeof(size_t))
#define POLDER_OFFSETS_(type, ...)                                                             \
        POLDER_PICK_(__VA_ARGS__, POLDER_O8_, POLDER_O7_, POLDER_O6_, POLDER_O5_, POLDER_O4_,  \
                     POLDER_O3_, POLDER_O2_, POLDER_O1_, )                                     \
        (type, __VA_ARGS__)
#define POLDER_PICK_(a, b, c, d, e, f, g, h, pick, ...) pick
#define POLDER_O1_(t, a) offsetof(t, a)
#define POLDER_O2_(t, a, ...) offsetof(t, a), POLDER_O1_(t, __VA_ARGS__)
#define POLDER_O3_(t, a, ...) offsetof(t, a), POLDER_O2_(t, __VA_ARGS__)
#define POLDER_O4_(t, a, ...) offsetof(t, a), POLDER_O3_(t, __VA_ARGS__)
#define POLDER_O5_(t, a, ...) offsetof(t, a), POLDER_O4_(t, __VA_ARGS__)
#define POLDER_O6_(t, a, ...) offsetof(t, a), POLDER_O5_(t, __VA_ARGS__)
#define POLDER_O7_(t, a, ...) offsetof(t, a), POLDER_O6_(t, __VA_ARGS__)
#define POLDER_O8_(t, a, ...) offsetof(t, a), POLDER_O7_(t, __VA_ARGS__)
#endif

/* ---- Objects --------------------------------------------------------------------
 * All are zeroed and 16-byte aligned (8 where nbytes < 16). */

void *polder_new(const struct polder_layout *layout);
void *polder_new_array(const struct polder_layout *element, size_t count);
void *polder_new_leaf(size_t nbytes);         /* holds no pointers: never scanned */
void *polder_new_conservative(size_t nbytes); /* any word may be a pointer */
/* On that node (the kernel's number) or not at all; NULL with EINVAL for a node
 * that is unknown or not allowed. */
void *polder_new_onnode(const struct polder_layout *layout, int node);
/* Scanned conservatively; lives until polder_free(). */
void *polder_new_uncollectable(size_t nbytes);
/* Usable bytes of a collected object, from any address inside it; 0 for others. */
size_t polder_size_of(const void *object);

/* Counted: alive until as many unpins. 0, -ENOMEM, -EINVAL where it is no object. */
int polder_pin(const void *object);
/* 0, or -ENOENT: it was not pinned. */
int polder_unpin(const void *object);

/* Every 8-byte word of [start, start + nbytes) may be a pointer.
 * 0, -ENOMEM, or -EINVAL. Its slots are written with polder_store(). */
int polder_root_add(void *start, size_t nbytes);
int polder_root_remove(void *start); /* 0, or -ENOENT */

/* ---- Weak references and finalizers ----------------------------------------------- */

struct polder_weak; /* itself a collected object; the same one for the same object */
/* NULL with ENOMEM, or EINVAL where object is none. */
struct polder_weak *polder_weak_new(void *object);
void *polder_weak_get(const struct polder_weak *weak); /* the object, or NULL once it is gone */

/* Called on a thread of its own once the object cannot be reached, and after
 * the finalizers of those that refer to it; the object and all it refers to are
 * whole, and fn may store it anywhere: then it lives on, without finalizer. An
 * object that can be reached from its own fields is never finalized (so in Go). */
typedef void (*polder_finalizer)(void *object, void *arg);
/* arg is kept alive with the record. fn NULL removes. 0, -ENOMEM, or -EINVAL
 * where object is not the first byte of a collected object. */
int polder_finalizer_set(void *object, polder_finalizer fn, void *arg);
/* No object has the finalizer fn any more, and no call of it is under way when this returns
 * (unless it comes from a finalizer). For libraries that are about to be unloaded. How many
 * had it. */
size_t polder_finalizer_forget(polder_finalizer fn);

/* ---- Collection --------------------------------------------------------------------- */

/* POLDER_YOUNG: concurrent, and of what was allocated since the last cycle only, where
 * generations are in use and nothing speaks against it; else the same as the first. */
enum polder_collect_mode { POLDER_CONCURRENT, POLDER_STOP_THE_WORLD, POLDER_YOUNG };
/* Returns when a whole cycle that began after the call is done and swept: 0;
 * -EDEADLK in a pressure callback, where that would be never. */
int polder_collect(enum polder_collect_mode mode);
int polder_collect_start(void);         /* returns at once */
int polder_set_gc_percent(int percent); /* negative: for a limit only; returns the former */
size_t polder_set_memory_limit(size_t nbytes); /* 0: none; returns the former value */
/* live, limit: bytes. Called from the collector's thread at the end of a cycle
 * after which the limit cannot be held. It may use the heap, drop what the program
 * can do without, and ask for another cycle by polder_collect_start(). */
typedef void (*polder_pressure)(size_t live, size_t limit, void *arg);
/* fn NULL: none. No call of the former one is under way when this returns (unless it comes from
 * such a call). */
int polder_on_pressure(polder_pressure fn, void *arg);

/* ---- Slots ---------------------------------------------------------------------------
 * slot: the address of a pointer variable, e.g. polder_store(&entry->next, other).
 * A store publishes (release), a load acquires: plain moves on x86-64, plus one
 * predictable check for a store while no cycle is marking. */

/* The inlined part of a thread's state: frozen, version 0. */
struct polder_thread_ {
        volatile unsigned char inside;  /* a thread inside Polder is not held there */
        volatile unsigned char shading; /* not 0: stores take the slow path */
        volatile unsigned char asked;   /* a collection wants this thread's attention */
        unsigned char version;
        uint32_t reserved;
        void *self[7];
};
extern __thread struct polder_thread_ polder_thread_ __attribute__((tls_model("initial-exec")));

void polder_store_slow_(void **slot, void *value);
void *polder_exchange_slow_(void **slot, void *value);
bool polder_compare_exchange_slow_(void **slot, void **expected, void *desired);
void polder_safepoint_slow_(void);
void polder_load_check_(void); /* programs compiled with -DPOLDER_CHECK: dies unless attached */

/* A plain read, which compares in memory where a volatile one loads first. It comes after a fence
 * for the compiler, so it happens each time; that a flag may be raised meanwhile is as well. */
__attribute__((no_sanitize("thread"))) static inline unsigned char
polder_flag_(const volatile unsigned char *flag)
{
        return *(const unsigned char *)(uintptr_t)flag;
}

static inline void polder_enter_(void)
{
        polder_thread_.inside = 1;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void polder_leave_(void)
{
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        polder_thread_.inside = 0;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (__builtin_expect(polder_flag_(&polder_thread_.asked), 0))
                polder_safepoint_slow_();
}

static inline void polder_safepoint(void)
{
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (__builtin_expect(polder_flag_(&polder_thread_.asked), 0))
                polder_safepoint_slow_();
}

static inline void polder_store_(void **slot, void *value)
{
        polder_enter_();
        if (__builtin_expect(polder_flag_(&polder_thread_.shading), 0))
                polder_store_slow_(slot, value);
        else
                __atomic_store_n(slot, value, __ATOMIC_RELEASE);
        polder_leave_();
}

static inline void *polder_load_(void *const *slot)
{
#ifdef POLDER_CHECK
        polder_load_check_();
#endif
        return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
}

static inline void *polder_exchange_(void **slot, void *value)
{
        void *old;
        polder_enter_();
        if (__builtin_expect(polder_flag_(&polder_thread_.shading), 0))
                old = polder_exchange_slow_(slot, value);
        else
                old = __atomic_exchange_n(slot, value, __ATOMIC_ACQ_REL);
        polder_leave_();
        return old;
}

static inline bool polder_compare_exchange_(void **slot, void **expected, void *desired)
{
        bool done;
        polder_enter_();
        if (__builtin_expect(polder_flag_(&polder_thread_.shading), 0))
                done = polder_compare_exchange_slow_(slot, expected, desired);
        else
                done = __atomic_compare_exchange_n(slot, expected, desired, false,
                                                   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        polder_leave_();
        return done;
}

/* The object is alive at least until here. */
static inline void polder_keep_alive(const void *object)
{
        __asm__ __volatile__("" : : "r"(object) : "memory");
}

#ifdef __cplusplus
} /* extern "C" */

template <typename T> static inline void polder_store(T **slot, T *value)
{
        polder_store_((void **)slot, (void *)value);
}
template <typename T> static inline void polder_store(T **slot, decltype(nullptr))
{
        polder_store_((void **)slot, nullptr);
}
template <typename T> static inline T *polder_load(T *const *slot)
{
        return (T *)polder_load_((void *const *)slot);
}
template <typename T> static inline T *polder_exchange(T **slot, T *value)
{
        return (T *)polder_exchange_((void **)slot, (void *)value);
}
template <typename T>
static inline bool polder_compare_exchange(T **slot, T **expected, T *desired)
{
        return polder_compare_exchange_((void **)slot, (void **)expected, (void *)desired);
}

extern "C" {
#else
/* Refuses what is no pointer variable, and a value of another type than the slot's. */
#define POLDER_SLOT_(slot, value)                                                              \
        ((void)sizeof(1 ? *(slot) : (value)), (void)sizeof(&**(slot)), (void **)(slot))
#define polder_store(slot, value) polder_store_(POLDER_SLOT_(slot, value), (void *)(value))
#define polder_load(slot) ((__typeof__(*(slot)))polder_load_((void *const *)(slot)))
#define polder_exchange(slot, value)                                                           \
        ((__typeof__(*(slot)))polder_exchange_(POLDER_SLOT_(slot, value), (void *)(value)))
#define polder_compare_exchange(slot, expected, desired)                                       \
        polder_compare_exchange_(POLDER_SLOT_(slot, desired),                                  \
                                 POLDER_SLOT_(expected, desired), (void *)(desired))
#endif

/* memmove() and memset(0) of slots, word by word; all 8-byte aligned. */
void polder_move(void *to_slots, const void *from_slots, size_t nbytes);
void polder_clear(void *slots, size_t nbytes);

#ifdef __cplusplus
}
#endif

#endif
