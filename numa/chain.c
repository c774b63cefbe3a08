/* chain.c: the kinds of memory to try, in order: POLDER_PAGES. */
#include "numa/chain.h"

#include "base/atomic.h"
#include "base/check.h"
#include "numa/os.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static _Atomic uint32_t current; /* B4 */
static _Atomic bool supported[PLD_BACKING_KINDS];

static enum pld_backing kind_named(const char *name, size_t length)
{
        for (enum pld_backing kind = PLD_BACKING_NONE + 1; kind < PLD_BACKING_KINDS; kind++)
                if (strlen(pld_backing_name(kind)) == length &&
                    !strncasecmp(pld_backing_name(kind), name, length))
                        return kind;
        return PLD_BACKING_NONE;
}

static int refuse_chain(const char *pages, const char *name, size_t length, const char *because)
{
        pld_say("POLDER_PAGES=\"%s\": \"%.*s\" %s; it takes 1G, 2M, thp and base, in the order to "
                "try",
                pages, (int)length, name, because);
        return -EINVAL;
}

static int parse_chain(const char *pages, struct pld_chain *out)
{
        struct pld_chain chain = { 0 };
        unsigned seen = 0, n = 0;
        for (const char *at = pages;; at++) {
                size_t length = strcspn(at, ",");
                enum pld_backing kind = kind_named(at, length);
                if (kind == PLD_BACKING_NONE)
                        return refuse_chain(pages, at, length, "is no kind of pages");
                if (seen >> kind & 1)
                        return refuse_chain(pages, at, length, "is there twice");
                if (kind == PLD_BACKING_1G && seen)
                        return refuse_chain(pages, at, length, "comes first or not at all");
                seen |= 1u << kind;
                chain.word |= (uint32_t)kind << (n++ * PLD_CHAIN_BITS);
                at += length;
                if (*at == '\0')
                        break;
        }
        *out = chain;
        return 0;
}

int pld_backing_start(const char *pages)
{
        struct pld_chain chain;
        int error = parse_chain(pages ? pages : "thp,base", &chain);
        if (error)
                return error;
        for (unsigned i = 0; pld_chain_kind(chain, i) != PLD_BACKING_NONE; i++) {
                enum pld_backing kind = pld_chain_kind(chain, i);
                bool has = pld_os->supports(kind);
                if (!has && pages)
                        pld_say("POLDER_PAGES=\"%s\": the kernel has no %s pages, or they are off",
                                pages, pld_backing_name(kind));
                pld_store_relaxed(&supported[kind], has);
        }
        pld_store_release(&current, chain.word); /* pairs with pld_chain_now() */
        return 0;
}

struct pld_chain pld_chain_now(void)
{
        /* Acquire: what is supported, with pld_backing_start(). */
        return (struct pld_chain){ pld_load_acquire(&current) };
}

bool pld_chain_supports(enum pld_backing kind)
{
        return pld_load_relaxed(&supported[kind]); /* ordered by that acquire */
}

bool pld_backing_has_1g(void)
{
        return pld_chain_kind(pld_chain_now(), 0) == PLD_BACKING_1G;
}

enum pld_backing pld_chain_wanted(struct pld_chain chain)
{
        unsigned i = pld_chain_kind(chain, 0) == PLD_BACKING_1G;
        while (pld_chain_kind(chain, i) != PLD_BACKING_NONE &&
               !pld_chain_supports(pld_chain_kind(chain, i)))
                i++;
        return pld_chain_kind(chain, i);
}

bool pld_chain_has(struct pld_chain chain, enum pld_backing kind)
{
        for (unsigned i = 0; pld_chain_kind(chain, i) != PLD_BACKING_NONE; i++)
                if (pld_chain_kind(chain, i) == kind)
                        return true;
        return false;
}
