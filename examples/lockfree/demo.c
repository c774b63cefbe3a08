/* demo: counts the words of a file with all four structures, and no lock anywhere.
 *
 * usage: demo FILE [THREADS]
 *
 * The main thread puts lines into a queue; workers take them, and count words in a hash
 * map: a count is not changed but replaced by a new one. Each line that a worker is done
 * with goes onto a stack, where the main thread finds it and uses it again: not that it
 * need to, but a buffer that went round is in the processor's cache. In the end the counts
 * are put in order. Nothing is ever freed. */
#include "examples/lockfree/map.h"
#include "examples/lockfree/queue.h"
#include "examples/lockfree/sorted.h"
#include "examples/lockfree/stack.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <polder/polder.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 1024, MOST_THREADS = 64, SHOWN = 10 };

struct word {
        struct map_entry entry;
        uint64_t count;
        size_t len; /* const, as the text is */
        char text[];
};

struct key {
        const char *text;
        size_t len;
};

/* The roots. */
static struct {
        struct queue *lines;
        struct stack *used;
        struct map *words;
        struct sorted *by_count;
} shared;

static atomic_bool all_read;

static void need(bool fine)
{
        if (fine)
                return;
        fputs("demo: no memory\n", stderr);
        exit(1);
}

static uint64_t hash_of(struct key key)
{
        uint64_t hash =
            UINT64_C(0xcbf29ce484222325); /* FNV-1a, and a multiplication to spread it */
        for (size_t i = 0; i < key.len; i++)
                hash = (hash ^ (unsigned char)key.text[i]) * UINT64_C(0x100000001b3);
        return (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> 7;
}

static bool is_word(const struct map_entry *entry, const void *arg)
{
        const struct word *word = (const struct word *)entry;
        const struct key *key = arg;
        return word->len == key->len && memcmp(word->text, key->text, key->len) == 0;
}

static struct word *word_new(struct key key, uint64_t count)
{
        static const size_t next = offsetof(struct word, entry.next);
        size_t nbytes = (sizeof(struct word) + key.len + 15) / 16 * 16;
        const struct polder_layout *layout = polder_layout_of(nbytes, &next, 1);
        struct word *word = layout ? polder_new(layout) : NULL;
        need(word != NULL);
        word->count = count;
        word->len = key.len;
        memcpy(word->text, key.text, key.len);
        return word;
}

/* Read, copy, replace; once more if somebody else was quicker. */
static void count_word(struct map *words, struct key key)
{
        uint64_t hash = hash_of(key);
        struct map_entry *old;
        for (;;) {
                struct word *word = (struct word *)map_get(words, hash, &key);
                if (!word) {
                        map_add(words, hash, &key, &word_new(key, 1)->entry, &old);
                        if (!old)
                                return;
                        word = (struct word *)old;
                }
                struct word *next = word_new(key, word->count + 1);
                int err = map_replace(words, hash, &key, &word->entry, &next->entry);
                need(err != -ENOMEM);
                if (!err)
                        return;
        }
}

static void count_words(struct map *words, const char *line)
{
        while (*line) {
                size_t len = 0;
                while (isalnum((unsigned char)line[len]))
                        len++;
                if (len)
                        count_word(words, (struct key){ line, len });
                line += len ? len : 1;
        }
}

static void *work(void *arg)
{
        struct queue *lines = polder_load(&shared.lines);
        struct map *words = polder_load(&shared.words);
        (void)arg;
        for (;;) {
                bool last = atomic_load(&all_read); /* before looking for a line */
                char *line = queue_take(lines);
                if (line) {
                        count_words(words, line);
                        need(stack_push(polder_load(&shared.used), line) == 0);
                } else if (last) {
                        return NULL;
                } else {
                        sched_yield();
                }
        }
}

static void read_lines(FILE *file)
{
        char *line = NULL;
        for (;;) {
                if (!line)
                        line = stack_pop(polder_load(&shared.used));
                if (!line)
                        need((line = polder_new_leaf(LINE_BYTES)) != NULL);
                if (!fgets(line, LINE_BYTES, file))
                        break;
                need(queue_put(polder_load(&shared.lines), line) == 0);
                line = NULL;
        }
        atomic_store(&all_read, true);
}

/* The most frequent first, words of one count in the order of their hash. */
static void put_in_order(struct map_entry *entry, void *arg)
{
        const struct word *word = (struct word *)entry;
        uint64_t hash = hash_of((struct key){ word->text, word->len });
        void *old;
        need(sorted_put(arg, (UINT32_MAX - word->count) << 32 | hash >> 32, entry, &old) == 0);
}

int main(int argc, char **argv)
{
        int nthreads = argc > 2 ? atoi(argv[2]) : 4;
        FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
        if (!file || nthreads < 1 || nthreads > MOST_THREADS) {
                fputs("usage: demo FILE [THREADS]\n", stderr);
                return 2;
        }
        need(polder_root_add(&shared, sizeof shared) == 0);
        polder_store(&shared.lines, queue_new());
        polder_store(&shared.used, stack_new());
        polder_store(&shared.words, map_new(1000, is_word));
        polder_store(&shared.by_count, sorted_new());
        need(shared.lines && shared.used && shared.words && shared.by_count);

        uintptr_t thread[MOST_THREADS];
        for (int i = 0; i < nthreads; i++)
                need(polder_thread_create(&thread[i], work, NULL) == 0);
        read_lines(file);
        fclose(file);
        polder_blocking_begin();
        for (int i = 0; i < nthreads; i++)
                pthread_join((pthread_t)thread[i], NULL);
        polder_blocking_end();

        map_each(shared.words, put_in_order, shared.by_count);
        printf("%zu words\n", map_count(shared.words));
        struct word *word;
        uint64_t key = 0;
        for (int i = 0; i < SHOWN && (word = sorted_ceiling(shared.by_count, key, &key));
             i++, key++)
                printf("%8" PRIu64 " %.*s\n", word->count, (int)word->len, word->text);
        return 0;
}
