/* plugin_module.c: a library with registered variables, a layout and a finalizer of its own,
 * as plugins of a server have them. */
#include "tests/life/plugin.h"

#include <polder/polder.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct entry {
        struct entry *next, *other;
        unsigned long value;
};

static struct entry *table[1000]; /* .bss */
static struct entry *first = NULL;
static const struct polder_layout *layout;
static int leaves_properly;
static atomic_uint ncalls;

static void on_finalize(void *object, void *arg)
{
        (void)arg;
        if (((struct entry *)object)->value != 11)
                abort();
        atomic_fetch_add(&ncalls, 1);
}

static void finalize_slowly(void *object, void *arg)
{
        struct timespec time = { .tv_nsec = 300000000 };
        atomic_fetch_add(&ncalls, 1);
        nanosleep(&time, NULL);
        on_finalize(object, arg); /* crashes where this code is no more */
}

static struct entry *entry_new(struct entry *next)
{
        static const size_t offsets[] = { 0, 8 }; /* in .rodata */
        if (!layout)
                layout = polder_layout_of(sizeof(struct entry), offsets, 2);
        struct entry *entry = polder_new(layout);
        if (!entry)
                abort();
        *entry = (struct entry){ .next = next, .value = 11 };
        return entry;
}

static void enter(int properly)
{
        leaves_properly = properly;
        if (polder_root_add(table, sizeof table) || polder_root_add(&first, sizeof first))
                abort();
        polder_store(&first, entry_new(NULL));
        for (int i = 0; i < 1000; i++)
                polder_store(&table[i], entry_new(first));
        for (int i = 0; i < 100; i++)
                if (polder_finalizer_set(entry_new(NULL), on_finalize, NULL))
                        abort();
        for (int i = 0; i < 100; i++) /* that live for long */
                if (polder_finalizer_set(table[i], on_finalize, NULL))
                        abort();
}

static void *held(void)
{
        return polder_load(&table[999]);
}

static void *object(void)
{
        return entry_new(entry_new(NULL));
}

static unsigned count_calls(void)
{
        return atomic_load(&ncalls);
}

static void make_slow(int properly)
{
        leaves_properly = properly;
        if (polder_finalizer_set(entry_new(NULL), finalize_slowly, NULL))
                abort();
}

/* What such a library owes (man polder_new, polder_weak). */
__attribute__((destructor)) static void leave(void)
{
        if (!leaves_properly)
                return;
        polder_finalizer_forget(on_finalize);
        polder_finalizer_forget(finalize_slowly);
        polder_root_remove(table);
        polder_root_remove(&first);
}

extern const struct plugin plugin;
const struct plugin plugin = { enter, held, object, count_calls, make_slow };
