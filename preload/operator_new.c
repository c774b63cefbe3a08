/* operator_new.c: the C++ operators that a program may replace, and what becomes
 * of them when memory is out.
 *
 * The library is in C and does not depend on a C++ library, which most programs
 * have no use for; libstdc++ may even arrive later, with a module of an
 * interpreter's. Yet a failing operator new must call the new_handler until it
 * gives up, and throw std::bad_alloc, or catch whatever the handler threw.
 *
 * All of that is in the C++ library already, in its own operator new, which calls
 * malloc(), and so us. Therefore the one who fails looks for a C++ library that
 * is loaded, and calls its operator of the same name: it tries again, asks the
 * handler, and throws, with its own std::bad_alloc. It is found by its soname and
 * not by RTLD_NEXT, for the next operator new may be another allocator's, and
 * because what dlopen() loaded for one module is in no global scope. A lookup of
 * a library that is there takes no memory.
 *
 * Exceptions travel through the frames of these files: they are compiled with
 * unwind tables (-fexceptions).
 *
 * O1  operators that the standard defines by others call those through the
 *     symbol, so that a program that replaces `operator new(size_t)` alone gets
 *     it called for `new T[n]` too. They are in operators.c: a compiler that
 *     sees both would bind them to each other. */
#include "preload/operator_new.h"

#include "arena/malloc_paths.h"
#include "base/bits.h"
#include "base/check.h"

#include <polder/arena.h>

#include <dlfcn.h>

static void *new_plain(size_t nbytes);
static void *new_aligned(size_t nbytes, size_t align);

void *_Znwm(size_t nbytes) __attribute__((alias("new_plain")));
void *_ZnwmSt11align_val_t(size_t nbytes, size_t align) __attribute__((alias("new_aligned")));

void *pld_new_library(const char *name)
{
        static const char *const sonames[] = { "libstdc++.so.6", "libc++abi.so.1", "libc++.so.1" };
        for (size_t i = 0; i < PLD_COUNT_OF(sonames); i++) {
                void *library = dlopen(sonames[i], RTLD_LAZY | RTLD_NOLOAD);
                if (!library)
                        continue;
                void *function = dlsym(library, name);
                dlclose(library); /* whoever called us keeps it */
                if (function)
                        return function;
        }
        return NULL;
}

static PLD_NOINLINE void *plain_slow(size_t nbytes)
{
        void *(*library)(size_t) = (void *(*)(size_t))pld_new_library("_Znwm");
        if (!library)
                pld_die("operator new of %zu bytes: no memory, and no C++ library to throw",
                        nbytes);
        return library(nbytes);
}

static PLD_NOINLINE void *aligned_slow(size_t nbytes, size_t align)
{
        void *(*library)(size_t, size_t) =
            (void *(*)(size_t, size_t))pld_new_library("_ZnwmSt11align_val_t");
        if (!library)
                pld_die("operator new of %zu bytes aligned to %zu: no memory,"
                        " and no C++ library to throw",
                        nbytes, align);
        return library(nbytes, align);
}

static void *new_plain(size_t nbytes)
{
        void *p = pld_malloc(nbytes);
        return pld_likely(p) ? p : plain_slow(nbytes);
}

static void *new_aligned(size_t nbytes, size_t align)
{
        void *p = polder_aligned_alloc(align, nbytes);
        return pld_likely(p) ? p : aligned_slow(nbytes, align);
}

bool pld_new_is_ours(void)
{
        return _Znwm == new_plain;
}

bool pld_new_aligned_is_ours(void)
{
        return _ZnwmSt11align_val_t == new_aligned;
}

void _ZdlPv(void *p)
{
        pld_free(p);
}

void _ZdlPvSt11align_val_t(void *p, size_t align)
{
        (void)align;
        pld_free(p);
}
