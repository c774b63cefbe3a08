#include "numa/image.h"

#include "base/atomic.h"
#include "base/bits.h"

#include <link.h>
#include <unistd.h>

/* The linker puts it where the file's first bytes are mapped. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

struct stretch {
        uintptr_t at, end;
};

static struct stretch stretch_of(uintptr_t base, const ElfW(Phdr) * segment)
{
        uintptr_t at = base + segment->p_vaddr;
        return (struct stretch){ .at = at, .end = at + segment->p_memsz };
}

__attribute__((no_sanitize("address", "thread"))) static void
touch(struct stretch stretch, size_t page_bytes, bool writable)
{
        for (uintptr_t at = stretch.at; at < stretch.end;
             at = pld_round_down(at, page_bytes) + page_bytes) {
                if (writable)
                        pld_or_relaxed((_Atomic unsigned char *)at, 0);
                else
                        *(const volatile unsigned char *)at;
        }
}

/* What is const once it is relocated was written, and must not be. */
static void touch_segment(struct stretch stretch, struct stretch constant, size_t page_bytes,
                          bool writable)
{
        if (writable && constant.at >= stretch.at && constant.at < stretch.end) {
                touch(constant, page_bytes, false);
                stretch.at = pld_round_down(constant.end, page_bytes);
        }
        touch(stretch, page_bytes, writable);
}

void pld_image_touch(void)
{
        uintptr_t start = (uintptr_t)&__ehdr_start, base = start;
        const ElfW(Phdr) *segments = (const ElfW(Phdr) *)(start + __ehdr_start.e_phoff);
        struct stretch constant = { 0, 0 };
        size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), n = __ehdr_start.e_phnum;

        for (size_t i = 0; i < n; i++)
                if (segments[i].p_type == PT_LOAD && segments[i].p_offset == 0)
                        base = start - segments[i].p_vaddr;
        for (size_t i = 0; i < n; i++)
                if (segments[i].p_type == PT_GNU_RELRO)
                        constant = stretch_of(base, &segments[i]);
        for (size_t i = 0; i < n; i++)
                if (segments[i].p_type == PT_LOAD && segments[i].p_flags & PF_R)
                        touch_segment(stretch_of(base, &segments[i]), constant, page_bytes,
                                      segments[i].p_flags & PF_W);
}
