/* lives.c: what do objects cost that die at once, and what does it cost to find them? */
#include "bench/collectors/load.h"

#include <string.h>

/* --- Objects that die at once: a thread's next object takes the place of its last --------- */

struct small {
        struct small *other;
        uint64_t number;
};

static memory_kind small_kind;
static uint64_t made;

static void die(const struct setting *setting, unsigned index)
{
        uint64_t count = setting->count / setting->threads, sum = 0;
        for (uint64_t i = 0; i < count; i++) {
                struct small *small = memory_new(small_kind);
                if (__builtin_expect(!small, 0))
                        give_up("no memory");
                if (!MEMORY_IS_MANUAL && small->number)
                        give_up("an object is not zeroed");
                memory_fill(&small->other, NULL);
                small->number = i + index;
                __asm__ __volatile__("" : : "r"(small) : "memory");
                sum += small->number;
                memory_free(small);
        }
        if (sum != count * (count - 1) / 2 + count * index)
                give_up("an object lost its number");
        __atomic_fetch_add(&made, count, __ATOMIC_RELAXED);
}

/* ns: of a thread's time for each of its objects. */
void run_die(const struct setting *setting)
{
        small_kind = memory_kind_of(setting->nbytes, 1);
        uint64_t began = now_ns();
        in_threads(setting, setting->threads, die, NULL);
        double ns = (double)(now_ns() - began);
        say("objects=%llu ns=%.3f", (unsigned long long)made, ns * setting->threads / (double)made);
}

/* --- Young garbage beside a large old structure: lists of twenty nodes with a leaf each are
 * made and dropped; one list in 64 replaces one that an old table holds -------------------- */

struct link {
        struct link *next;
        void *leaf;
        uint64_t number, owner;
};

enum { LENGTH = 20 };

static struct {
        struct link **table;
} root;

static memory_kind link_kind;
static uint64_t lists_made, ends_at;

static struct link *list_new(uint64_t owner, struct random *random)
{
        struct link *list = NULL;
        for (uint64_t i = 0; i < LENGTH; i++) {
                size_t nbytes = 16 + 8 * random_below(random, 15);
                char *leaf = memory_new_leaf(nbytes);
                memset(leaf, (int)i, nbytes);
                struct link *link = memory_new(link_kind);
                if (!link)
                        give_up("no memory");
                memory_fill(&link->next, list);
                memory_fill(&link->leaf, leaf);
                link->number = i;
                link->owner = owner;
                list = link;
        }
        return list;
}

static void check_list(struct link *list, uint64_t owner)
{
        uint64_t left = LENGTH;
        for (; list; list = memory_load(&list->next))
                if (!left-- || list->number != left || list->owner != owner ||
                    *(char *)memory_load(&list->leaf) != (char)left)
                        give_up("a list is not whole");
        if (left)
                give_up("a list is too short");
}

static void list_end(struct link *list)
{
        while (list) {
                struct link *next = list->next;
                memory_free(list->leaf);
                memory_free(list);
                list = next;
        }
}

static void churn(const struct setting *setting, unsigned index)
{
        uint64_t lists = setting->count / LENGTH / setting->threads, done = 0;
        uint64_t first = index * lists;
        struct random random = random_of(300 + index);
        for (uint64_t i = 0; i < lists; i++)
                memory_store(&root.table[first + i], list_new(first + i, &random));
        meet(NULL);
        if (!index)
                __atomic_store_n(&ends_at, now_ns() + (uint64_t)(setting->seconds * 1e9),
                                 __ATOMIC_RELAXED);
        meet(NULL);
        for (; now_ns() < ends_at; done++) {
                uint64_t place = first + random_below(&random, lists);
                struct link *list = list_new(place, &random);
                check_list(list, place);
                if (done % 64) {
                        if (MEMORY_IS_MANUAL)
                                list_end(list);
                        continue;
                }
                struct link *old = memory_load(&root.table[place]);
                check_list(old, place);
                memory_store(&root.table[place], list);
                if (MEMORY_IS_MANUAL)
                        list_end(old);
        }
        for (uint64_t i = 0; i < lists; i++)
                check_list(memory_load(&root.table[first + i]), first + i);
        __atomic_fetch_add(&lists_made, done, __ATOMIC_RELAXED);
}

/* The collector's CPU time is what threads took that are not the load's, or, where that is
 * more, what it says it marked for. */
void run_old(const struct setting *setting)
{
        link_kind = memory_kind_of(sizeof(struct link), 2);
        memory_root(&root, sizeof root);
        memory_store(&root.table, (struct link **)memory_new_pointers(setting->count / LENGTH));
        uint64_t began = now_ns(), cpu = process_cpu_ns();
        in_threads(setting, setting->threads, churn, NULL);
        double seconds = (double)(now_ns() - began) / 1e9;
        double all = (double)(process_cpu_ns() - cpu) / 1e9;
        struct memory_figures found = memory_figures();
        double collector = all - (double)mutator_cpu_ns() / 1e9;
        if (collector < found.mark_ms / 1e3)
                collector = found.mark_ms / 1e3;
        say("lists=%llu mobjects_s=%.3f objects_per_cpu_us=%.3f", (unsigned long long)lists_made,
            (double)lists_made * LENGTH * 2 / seconds / 1e6,
            (double)lists_made * LENGTH * 2 / all / 1e6);
        say("freed_mib=%.0f collector_cpu_s=%.3f freed_mib_per_cpu_s=%.1f", found.freed_mib,
            collector, collector > 0 ? found.freed_mib / collector : 0);
}
