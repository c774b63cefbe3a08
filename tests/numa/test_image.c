#include "numa/image.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { DATA_BYTES = 1 << 20, PAGE_BYTES = 4096 };

static volatile char data[DATA_BYTES] = { 1 }, zeros[DATA_BYTES];
static const char constant[DATA_BYTES] = { 1 };

static long faults(void)
{
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_minflt + usage.ru_majflt;
}

static bool is_in_memory(const volatile void *at)
{
        unsigned char there = 0;
        uintptr_t page = (uintptr_t)at & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);
        cr_assert_eq(mincore((void *)page, 1, &there), 0);
        return there & 1;
}

/* A sanitizer would look into pages of its own. */
__attribute__((no_sanitize("address"))) static long faults_of_writing(void)
{
        long before = faults();
        for (int i = 0; i < DATA_BYTES; i += PAGE_BYTES) {
                data[i] = 1;
                zeros[i] = 1;
        }
        return faults() - before;
}

Test(image, what_was_touched_is_written_without_a_fault)
{
        pld_image_touch();
        cr_expect_leq(faults_of_writing(), 1, "but for the stack's, perhaps");
}

Test(image, nothing_is_changed)
{
        data[5 * PAGE_BYTES] = 5;
        pld_image_touch();
        cr_expect_eq(data[0], 1);
        cr_expect_eq(data[5 * PAGE_BYTES], 5);
        cr_expect_eq(zeros[7 * PAGE_BYTES], 0);
}

Test(image, constants_and_code_are_in_memory)
{
        pld_image_touch();
        for (int i = 0; i < DATA_BYTES; i += PAGE_BYTES)
                cr_expect(is_in_memory(&constant[i]));
        cr_expect(is_in_memory((void *)(uintptr_t)pld_image_touch));
}
