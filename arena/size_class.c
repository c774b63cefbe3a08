#include "arena/size_class.h"

#include "base/check.h"

#include <string.h>

struct pld_class pld_classes[PLD_NCLASSES];
uint8_t pld_class_small[PLD_LEAST_MAX / 8 + 1];
uint8_t pld_class_manual[PLD_LEAST_MAX / 8 + 1];
uint8_t pld_class_medium[PLD_SMALL_MAX / 128 + 1];

static size_t next_size(size_t nbytes)
{
        if (nbytes < 16)
                return nbytes + 8;
        if (nbytes < 128)
                return nbytes + 16;
        return nbytes + ((size_t)1 << pld_log2(nbytes)) / 8;
}

/* malloc's spans are shorter: each thread has some of each class that it uses, and what
 * survives in one keeps all of it. */
enum { SPAN_BYTES = 64 << 10, MANUAL_SPAN_BYTES = 16 << 10 };

/* Spans hold at most 1024 objects and so many bytes, or eight objects (four of malloc's
 * largest) where that is more; then as many pages as leave little unused at the end. */
static uint32_t span_pages(size_t nbytes, size_t most)
{
        size_t want = nbytes * PLD_SPAN_OBJECTS_MAX;
        if (want > most)
                want = most;
        size_t least = nbytes <= PLD_SMALL_MAX ? 8 : 4;
        if (want < least * nbytes)
                want = least * nbytes;
        size_t npages = pld_pages_for(want);
        size_t best = npages;
        size_t best_tail = npages * PLD_PAGE_BYTES % nbytes;
        for (size_t n = npages > 4 ? npages * 3 / 4 : npages; n <= npages; n++) {
                size_t tail = n * PLD_PAGE_BYTES % nbytes;
                if (tail * best <= best_tail * n) {
                        best = n;
                        best_tail = tail;
                }
        }
        return (uint32_t)best;
}

static uint32_t objects_in(size_t npages, size_t nbytes)
{
        size_t n = npages * PLD_PAGE_BYTES / nbytes;
        return (uint32_t)(n < PLD_SPAN_OBJECTS_MAX ? n : PLD_SPAN_OBJECTS_MAX);
}

static struct pld_class describe(size_t nbytes)
{
        struct pld_class class = { .nbytes = (uint32_t)nbytes,
                                   .npages = span_pages(nbytes, SPAN_BYTES),
                                   .manual_npages = span_pages(nbytes, MANUAL_SPAN_BYTES) };
        class.count = objects_in(class.npages, nbytes);
        class.manual_count = objects_in(class.manual_npages, nbytes);
        class.magic = UINT64_MAX / nbytes + 1;
        return class;
}

void pld_size_class_start(void)
{
        size_t nbytes = 8, small = 0, medium = 0;
        for (unsigned i = 0; i < PLD_NCLASSES; i++, nbytes = next_size(nbytes)) {
                pld_classes[i] = describe(nbytes);
                for (; small < PLD_COUNT_OF(pld_class_small) && small * 8 <= nbytes; small++)
                        pld_class_small[small] = (uint8_t)i;
                for (; medium < PLD_COUNT_OF(pld_class_medium) && medium * 128 <= nbytes; medium++)
                        pld_class_medium[medium] = (uint8_t)i;
        }
        memcpy(pld_class_manual, pld_class_small, sizeof pld_class_manual);
        pld_class_manual[0] = pld_class_manual[1] = pld_class_small[2];
        PLD_CHECK(pld_classes[PLD_NCLASSES_SMALL - 1].nbytes == PLD_SMALL_MAX);
        PLD_CHECK(pld_classes[PLD_NCLASSES - 1].nbytes == PLD_MANUAL_MAX);
}

unsigned pld_class_of_aligned(size_t align, size_t nbytes)
{
        size_t rounded = nbytes ? pld_round_up(nbytes, align) : align;
        if (align > PLD_PAGE_BYTES || rounded > PLD_MANUAL_MAX)
                return PLD_CLASS_LARGE;
        unsigned class = pld_class_of_block(rounded);
        while (class < PLD_NCLASSES && pld_classes[class].nbytes % align != 0)
                class++;
        return class;
}
