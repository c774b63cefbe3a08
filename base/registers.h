/* registers.h: the registers that a caller may keep a pointer in. */
#ifndef PLD_BASE_REGISTERS_H
#define PLD_BASE_REGISTERS_H

#include <stddef.h>
#include <stdint.h>

enum { PLD_FRAME_WORDS = 32 };

struct pld_registers {
        uintptr_t word[12];               /* callee-saved; unused ones are zero */
        uintptr_t frame[PLD_FRAME_WORDS]; /* pld_frame_save() */
};

/* The lowest address of the running function's frame: what it pushed lies above. */
static inline __attribute__((always_inline)) uintptr_t pld_stack_pointer(void)
{
        uintptr_t sp;
#if defined(__x86_64__)
        __asm__ __volatile__("movq %%rsp, %0" : "=r"(sp));
#elif defined(__aarch64__)
        __asm__ __volatile__("mov %0, sp" : "=r"(sp));
#endif
        return sp;
}

/* Inlined, so that the registers are those of the function it stands in. */
static inline __attribute__((always_inline)) void pld_registers_save(struct pld_registers *out)
{
#if defined(__x86_64__)
        __asm__ __volatile__("movq %%rbx, 0(%0)\n\t"
                             "movq %%rbp, 8(%0)\n\t"
                             "movq %%r12, 16(%0)\n\t"
                             "movq %%r13, 24(%0)\n\t"
                             "movq %%r14, 32(%0)\n\t"
                             "movq %%r15, 40(%0)"
                             :
                             : "r"(out->word)
                             : "memory");
        for (int i = 6; i < 12; i++)
                out->word[i] = 0;
#elif defined(__aarch64__)
        __asm__ __volatile__("stp x19, x20, [%0]\n\t"
                             "stp x21, x22, [%0, 16]\n\t"
                             "stp x23, x24, [%0, 32]\n\t"
                             "stp x25, x26, [%0, 48]\n\t"
                             "stp x27, x28, [%0, 64]\n\t"
                             "str x29, [%0, 80]"
                             :
                             : "r"(out->word)
                             : "memory");
        out->word[11] = 0;
#else
#error "which registers are callee-saved on this machine?"
#endif
}

/* For a function that will return before the registers are looked at: its
 * prologue may have pushed the caller's registers, and its frame will be gone.
 * top: the end of the stack, which is not read beyond. */
static inline __attribute__((always_inline, no_sanitize("address"))) void
pld_frame_save(struct pld_registers *out, uintptr_t sp, uintptr_t top)
{
        for (size_t i = 0; i < PLD_FRAME_WORDS; i++) {
                uintptr_t at = sp + i * sizeof(uintptr_t);
                out->frame[i] = at < top ? *(volatile uintptr_t *)at : 0;
        }
}

#endif
