/* prefetch.h: asking for memory that will be written soon. */
#ifndef PLD_BASE_PREFETCH_H
#define PLD_BASE_PREFETCH_H

/* Asks for a line as its only owner. The compiler's own way asks for a copy that may be
 * shared, unless it is told of a processor that has this; those that do not ignore it. */
static inline void pld_prefetch_write(const void *at)
{
#if defined(__x86_64__)
        __asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)at));
#else
        __builtin_prefetch(at, 1);
#endif
}

#endif
