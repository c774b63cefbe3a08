#include "arena/form.h"

#include "base/check.h"

enum { NFIXED = PLD_FORM_KINDS * (PLD_NCLASSES + 1) };

static_assert(NFIXED < PLD_NFORMS / 2, "most forms have a pattern");

struct pld_form pld_forms[PLD_NFORMS];
uint64_t pld_form_magic[PLD_NFORMS];
static unsigned nforms; /* whoever calls pld_form_new() */

unsigned pld_form_for(unsigned class, enum pld_form_kind kind)
{
        return kind * (PLD_NCLASSES + 1) + class;
}

/* If they follow each other, as they mostly do. */
static unsigned pointers_in_run(uint64_t pattern)
{
        uint64_t run = pattern >> pld_lowest_bit(pattern);
        return run & (run + 1) ? 0 : pld_log2(run) + 1;
}

unsigned pld_form_new(unsigned class, uint64_t pattern)
{
        unsigned like = pld_form_for(class, PLD_FORM_PRECISE);
        if (nforms == PLD_NFORMS || class >= PLD_NCLASSES)
                return like;
        pld_forms[nforms] = pld_forms[like];
        pld_form_magic[nforms] = pld_form_magic[like];
        pld_forms[nforms].pattern = pattern;
        pld_forms[nforms].reach = (uint16_t)(8 * pld_log2(pattern));
        pld_forms[nforms].run = (uint8_t)pointers_in_run(pattern);
        return nforms++;
}

/* Rounded up: exact as long as offset * nbytes is less than 1 << PLD_FORM_SHIFT, and no
 * product is lost while an offset is less than that of 1 << 24. */
static uint64_t magic_of(uint32_t nbytes)
{
        return (UINT64_C(1) << PLD_FORM_SHIFT) / nbytes + 1;
}

void pld_form_start(void)
{
        for (unsigned kind = 0; kind < PLD_FORM_KINDS; kind++) {
                for (unsigned class = 0; class <= PLD_NCLASSES; class ++) {
                        bool large = class == PLD_CLASS_LARGE;
                        unsigned form = pld_form_for(class, kind);
                        pld_form_magic[form] = large ? 0 : magic_of(pld_classes[class].nbytes);
                        pld_forms[form] = (struct pld_form){
                                .nbytes = large ? 0 : pld_classes[class].nbytes,
                                .kind = (uint8_t)kind,
                        };
                }
        }
        nforms = NFIXED;
}
