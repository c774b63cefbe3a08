/* operators.c: the C++ operators that are defined by others (operator_new.c, O1).
 *
 * A `nothrow` one returns NULL where the plain one throws. As long as memory is
 * there, and the plain one is ours, that is the same; else the C++ library's
 * takes over, which can catch. */
#include "preload/operator_new.h"

#include "arena/malloc_paths.h"
#include "base/bits.h"

#include <polder/arena.h>

struct nothrow; /* std::nothrow_t */

/* ---- new ------------------------------------------------------------------------- */

void *_Znam(size_t nbytes);
void *_Znam(size_t nbytes)
{
        return _Znwm(nbytes);
}

void *_ZnamSt11align_val_t(size_t nbytes, size_t align);
void *_ZnamSt11align_val_t(size_t nbytes, size_t align)
{
        return _ZnwmSt11align_val_t(nbytes, align);
}

static PLD_NOINLINE void *nothrow_slow(const char *name, size_t nbytes,
                                       const struct nothrow *nothrow)
{
        void *(*library)(size_t, const struct nothrow *) =
            (void *(*)(size_t, const struct nothrow *))pld_new_library(name);
        return library ? library(nbytes, nothrow) : NULL;
}

static PLD_NOINLINE void *aligned_nothrow_slow(const char *name, size_t nbytes, size_t align,
                                               const struct nothrow *nothrow)
{
        void *(*library)(size_t, size_t, const struct nothrow *) =
            (void *(*)(size_t, size_t, const struct nothrow *))pld_new_library(name);
        return library ? library(nbytes, align, nothrow) : NULL;
}

void *_ZnwmRKSt9nothrow_t(size_t nbytes, const struct nothrow *nothrow);
void *_ZnwmRKSt9nothrow_t(size_t nbytes, const struct nothrow *nothrow)
{
        void *p = pld_likely(pld_new_is_ours()) ? pld_malloc(nbytes) : NULL;
        return pld_likely(p) ? p : nothrow_slow("_ZnwmRKSt9nothrow_t", nbytes, nothrow);
}

void *_ZnamRKSt9nothrow_t(size_t nbytes, const struct nothrow *nothrow);
void *_ZnamRKSt9nothrow_t(size_t nbytes, const struct nothrow *nothrow)
{
        void *p = pld_likely(pld_new_is_ours()) ? pld_malloc(nbytes) : NULL;
        return pld_likely(p) ? p : nothrow_slow("_ZnamRKSt9nothrow_t", nbytes, nothrow);
}

void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t nbytes, size_t align,
                                         const struct nothrow *nothrow);
void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t nbytes, size_t align, const struct nothrow *nothrow)
{
        void *p = pld_new_aligned_is_ours() ? polder_aligned_alloc(align, nbytes) : NULL;
        return p ? p
                 : aligned_nothrow_slow("_ZnwmSt11align_val_tRKSt9nothrow_t", nbytes, align,
                                        nothrow);
}

void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t nbytes, size_t align,
                                         const struct nothrow *nothrow);
void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t nbytes, size_t align, const struct nothrow *nothrow)
{
        void *p = pld_new_aligned_is_ours() ? polder_aligned_alloc(align, nbytes) : NULL;
        return p ? p
                 : aligned_nothrow_slow("_ZnamSt11align_val_tRKSt9nothrow_t", nbytes, align,
                                        nothrow);
}

/* ---- delete ------------------------------------------------------------------------ */

void _ZdaPv(void *p);
void _ZdaPv(void *p)
{
        _ZdlPv(p);
}

void _ZdlPvm(void *p, size_t nbytes);
void _ZdlPvm(void *p, size_t nbytes)
{
        (void)nbytes;
        _ZdlPv(p);
}

void _ZdaPvm(void *p, size_t nbytes);
void _ZdaPvm(void *p, size_t nbytes)
{
        (void)nbytes;
        _ZdaPv(p);
}

void _ZdlPvRKSt9nothrow_t(void *p, const struct nothrow *nothrow);
void _ZdlPvRKSt9nothrow_t(void *p, const struct nothrow *nothrow)
{
        (void)nothrow;
        _ZdlPv(p);
}

void _ZdaPvRKSt9nothrow_t(void *p, const struct nothrow *nothrow);
void _ZdaPvRKSt9nothrow_t(void *p, const struct nothrow *nothrow)
{
        (void)nothrow;
        _ZdaPv(p);
}

void _ZdaPvSt11align_val_t(void *p, size_t align);
void _ZdaPvSt11align_val_t(void *p, size_t align)
{
        _ZdlPvSt11align_val_t(p, align);
}

void _ZdlPvmSt11align_val_t(void *p, size_t nbytes, size_t align);
void _ZdlPvmSt11align_val_t(void *p, size_t nbytes, size_t align)
{
        (void)nbytes;
        _ZdlPvSt11align_val_t(p, align);
}

void _ZdaPvmSt11align_val_t(void *p, size_t nbytes, size_t align);
void _ZdaPvmSt11align_val_t(void *p, size_t nbytes, size_t align)
{
        (void)nbytes;
        _ZdaPvSt11align_val_t(p, align);
}

void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const struct nothrow *nothrow);
void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const struct nothrow *nothrow)
{
        (void)nothrow;
        _ZdlPvSt11align_val_t(p, align);
}

void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const struct nothrow *nothrow);
void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const struct nothrow *nothrow)
{
        (void)nothrow;
        _ZdaPvSt11align_val_t(p, align);
}
