/* map.h: what bench/map_race asks of a map: keys to values, each entry one object. */
#ifndef BENCH_MAPS_MAP_H
#define BENCH_MAPS_MAP_H

#include <stddef.h>
#include <stdint.h>

enum { LEAST_WORDS = 4, MOST_WORDS = 60 }; /* of a value */

struct content {
        uint64_t key;
        uint64_t nwords;
        uint64_t word[]; /* each is the key */
};

extern const char *const map_name;

void map_start(size_t expected);
void map_thread_begin(void);
void map_thread_end(void);
/* Between two operations; every so often. */
void map_turn(void);

/* The sum over the value's words; 0 where there is none. */
uint64_t map_look_up(uint64_t key);
/* Makes a new entry, in place of the old one if there is one. */
void map_set(uint64_t key, uint64_t nwords);
void map_erase(uint64_t key);

static inline uint64_t map_hash(uint64_t key)
{
        key = (key ^ key >> 31) * UINT64_C(0x9e3779b97f4a7c15);
        return key ^ key >> 29;
}

static inline void content_fill(struct content *content, uint64_t key, uint64_t nwords)
{
        content->key = key;
        content->nwords = nwords;
        for (uint64_t i = 0; i < nwords; i++)
                content->word[i] = key;
}

static inline uint64_t content_sum(const struct content *content)
{
        uint64_t sum = 0;
        for (uint64_t i = 0; i < content->nwords; i++)
                sum += content->word[i];
        return sum;
}

#endif
