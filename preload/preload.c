/* preload.c: malloc, free and their kin for programs that were not built for Polder.
 *
 * NAME
 *      libpolder-malloc.so - Polder's arena in the place of the C library's malloc
 *
 * SYNOPSIS
 *      LD_PRELOAD=/usr/lib/libpolder-malloc.so program [argument...]
 *      cc … -lpolder-malloc
 *
 * DESCRIPTION
 * The dynamic linker looks a name up in the program first, then in the preloaded
 * objects, then in the libraries. So this one's malloc() is everybody's: the
 * program's, its libraries', the C library's own and, once it has relocated
 * itself, the dynamic linker's. The whole surface has to be here: a block that
 * came from one implementation and goes to another is lost.
 *
 *      C        malloc calloc realloc free aligned_alloc, C23's free_sized and
 *               free_aligned_sized
 *      POSIX    posix_memalign, and what used to be: valloc
 *      GNU      memalign pvalloc reallocarray cfree malloc_usable_size malloc_trim
 *               mallinfo mallinfo2 malloc_info malloc_stats mallopt, and the
 *               names of glibc's that some programs call: __libc_malloc, …
 *      C++      every replaceable operator new and delete (operator_new.c)
 *
 * Nothing else is exported, and the collector is not in it. No signal handler is
 * installed, no setting of the process changed. The variables POLDER_PAGES,
 * POLDER_NODES, POLDER_RESERVE, POLDER_PREFAULT, POLDER_DECAY_MS,
 * POLDER_MEMORY_LIMIT, POLDER_MAX_SPANS and POLDER_MAX_CACHES are those of the
 * arena. The library cannot be unloaded.
 *
 * WHERE STANDARDS LEAVE A CHOICE, glibc's is taken: malloc(0) is a block of its
 * own; realloc(p, 0) frees and returns NULL; memalign() rounds an alignment up to
 * a power of two; free() keeps errno. aligned_alloc() refuses what is no power of
 * two, as C17 wants and glibc does since 2.38. Options of mallopt() are accepted
 * and change nothing.
 *
 * START. Y1 to Y5 are what the rest of the house must keep for this library:
 *
 * Y1  the first call may come at any time after relocation: from the dynamic
 *     linker, from a constructor that runs before any of ours, from libnuma's.
 *     So a start needs no constructor to have run, asks the kernel itself
 *     instead of libnuma, and its thread-local variables are initial-exec: an
 *     access calls nothing.
 * Y2  a call that comes out of the start itself is refused (arena.c, S2).
 * Y3  the object asks to be initialized first (-z initfirst), and then starts
 *     the arena if no call has: on the main thread's stack, with no other thread
 *     there, and before anyone could call pthread_atfork(). fork() runs what was
 *     registered first last before and first after, so that handlers which
 *     allocate do not meet locks that are seized. Before the C library's own
 *     initialization `environ` is not set yet, but a constructor is told it.
 * Y4  free() is called with locks of the C library's held: it never makes a
 *     thread, nor does anything in a program that has one thread (decay.h).
 * Y5  there is no destructor: whatever runs at the end of a thread or of the
 *     process may allocate and free.
 *
 * STRANGERS. The dynamic linker has a malloc of its own for as long as it has not
 * relocated itself, whose blocks lie behind its data segment and in pages beside
 * the descriptions (struct link_map) of the first objects. As far as one can
 * read, it never passes one on to the real free() or realloc(): it keeps count
 * of what came from where (dl_initial_dtv, l_free_initfini and others). Should a
 * version forget one, such a free is ignored and such a realloc copies. Any
 * other stranger is one line on standard error, and abort().
 *
 * LIMITS. A fork() seizes the heap's locks before the C library takes its own
 * for streams and name services; a thread that allocates while it holds one of
 * those can meet a fork there, as with every allocator that is not the C
 * library's. A program that locks all its memory (mlockall) locks the tables,
 * too, a thousandth of the reserved range; where RLIMIT_MEMLOCK is set, the range
 * itself is too much. Where address space is limited, three quarters of the limit
 * are asked for, and the largest power of two that is granted bounds the heap. In
 * a program without shared C++ library that runs out of memory in operator new
 * there is nobody who could throw: it is one line, and abort(). */
#include "arena/arena.h"
#include "arena/decay.h"
#include "arena/malloc.h"
#include "arena/malloc_paths.h"
#include "arena/manual.h"
#include "base/bits.h"
#include "base/check.h"
#include "numa/backing.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

/* What <stdlib.h> does not declare, or only in a later version. */
void cfree(void *p);
void free_sized(void *p, size_t nbytes);
void free_aligned_sized(void *p, size_t align, size_t nbytes);

static size_t base_page(void)
{
        return (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- C --------------------------------------------------------------------------- */

/* On a cache line's start, so that what stands before them has no part in how fast they are. */
#define AT_LINE_START __attribute__((aligned(PLD_CACHE_LINE)))

AT_LINE_START void *malloc(size_t nbytes)
{
        return pld_malloc(nbytes);
}

AT_LINE_START void free(void *p)
{
        pld_free(p);
}

void *calloc(size_t count, size_t nbytes)
{
        return polder_calloc(count, nbytes);
}

void *realloc(void *p, size_t nbytes)
{
        return polder_realloc(p, nbytes);
}

void *aligned_alloc(size_t align, size_t nbytes)
{
        return polder_aligned_alloc(align, nbytes);
}

void free_sized(void *p, size_t nbytes)
{
        polder_free_sized(p, nbytes);
}

void free_aligned_sized(void *p, size_t align, size_t nbytes)
{
        (void)align;
        polder_free_sized(p, nbytes);
}

/* ---- POSIX, GNU -------------------------------------------------------------------- */

int posix_memalign(void **out, size_t align, size_t nbytes)
{
        return polder_posix_memalign(out, align, nbytes);
}

void *memalign(size_t align, size_t nbytes)
{
        enum { ALWAYS = 16 }; /* every block's */
        if (align <= ALWAYS)
                return polder_malloc(nbytes);
        if (align > (size_t)PTRDIFF_MAX / 2 + 1) {
                errno = EINVAL;
                return NULL;
        }
        if (!pld_is_pow2(align))
                align = (size_t)1 << (pld_log2(align) + 1);
        return polder_aligned_alloc(align, nbytes);
}

void *valloc(size_t nbytes)
{
        return polder_aligned_alloc(base_page(), nbytes);
}

void *pvalloc(size_t nbytes)
{
        size_t page = base_page();
        if (nbytes > PTRDIFF_MAX) {
                errno = ENOMEM;
                return NULL;
        }
        return polder_aligned_alloc(page, pld_round_up(nbytes, page));
}

void *reallocarray(void *p, size_t count, size_t nbytes)
{
        return polder_reallocarray(p, count, nbytes);
}

void cfree(void *p)
{
        polder_free(p);
}

size_t malloc_usable_size(void *p)
{
        return polder_malloc_usable_size(p);
}

/* ---- Questions and wishes ------------------------------------------------------------ */

int malloc_trim(size_t pad)
{
        (void)pad;
        return polder_release() > 0;
}

int mallopt(int option, int value)
{
        (void)value;
        switch (option) {
        case M_MXFAST:
        case M_TRIM_THRESHOLD:
        case M_TOP_PAD:
        case M_MMAP_THRESHOLD:
        case M_MMAP_MAX:
        case M_CHECK_ACTION:
        case M_PERTURB:
        case M_ARENA_TEST:
        case M_ARENA_MAX:
                return 1;
        default:
                return 0;
        }
}

struct mallinfo2 mallinfo2(void)
{
        size_t backed = pld_page_heap_backed_bytes(), used = pld_manual_bytes();
        return (struct mallinfo2){ .arena = backed,
                                   .ordblks = 1,
                                   .uordblks = used,
                                   .fordblks = backed > used ? backed - used : 0,
                                   .keepcost = pld_page_heap_idle_bytes() };
}

/* As glibc does it: what is too large for an int is cut off. */
struct mallinfo mallinfo(void)
{
        struct mallinfo2 wide = mallinfo2();
        return (struct mallinfo){ .arena = (int)wide.arena,
                                  .ordblks = (int)wide.ordblks,
                                  .uordblks = (int)wide.uordblks,
                                  .fordblks = (int)wide.fordblks,
                                  .keepcost = (int)wide.keepcost };
}

int malloc_info(int options, FILE *to)
{
        if (options != 0)
                return EINVAL;
        fprintf(to,
                "<malloc version=\"polder-1\">\n"
                "<system type=\"current\" size=\"%zu\"/>\n"
                "<system type=\"huge\" size=\"%zu\"/>\n"
                "<system type=\"idle\" size=\"%zu\"/>\n"
                "<spans size=\"%zu\" count=\"%zu\"/>\n"
                "</malloc>\n",
                pld_page_heap_backed_bytes(), pld_page_heap_huge_bytes(),
                pld_page_heap_idle_bytes(), pld_manual_bytes(), pld_spans_live());
        return 0;
}

void malloc_stats(void)
{
        pld_say("%zu bytes of memory, %zu of them in huge pages; %zu in %zu spans, %zu idle",
                pld_page_heap_backed_bytes(), pld_page_heap_huge_bytes(), pld_manual_bytes(),
                pld_spans_live(), pld_page_heap_idle_bytes());
}

/* ---- glibc's own names ------------------------------------------------------------------ */

#if __has_attribute(copy) /* GCC: it would warn otherwise */
#define ALSO(name, of) extern __typeof(of) name __attribute__((alias(#of), copy(of)))
#else
#define ALSO(name, of) extern __typeof(of) name __attribute__((alias(#of)))
#endif
ALSO(__libc_malloc, malloc);
ALSO(__libc_free, free);
ALSO(__libc_calloc, calloc);
ALSO(__libc_realloc, realloc);
ALSO(__libc_memalign, memalign);
ALSO(__libc_valloc, valloc);
ALSO(__libc_pvalloc, pvalloc);
ALSO(__posix_memalign, posix_memalign);

/* ---- Strangers --------------------------------------------------------------------------- */

/* The end of the dynamic linker's data, behind which its first blocks lie. */
static uintptr_t loader_end(void)
{
        uintptr_t base = getauxval(AT_BASE), end = 0;
        if (!base)
                return 0;
        const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)base;
        const ElfW(Phdr) *segment = (const ElfW(Phdr) *)(base + header->e_phoff);
        for (unsigned i = 0; i < header->e_phnum; i++)
                if (segment[i].p_type == PT_LOAD && segment[i].p_flags & PF_W)
                        end = base + segment[i].p_vaddr + segment[i].p_memsz;
        return end;
}

/* Objects that came later are described in blocks of ours: there the search ends,
 * before anything that another thread's dlclose() could take away. */
static bool is_beside_a_map(uintptr_t p, size_t page)
{
        for (const struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
                if (pld_range_has((uintptr_t)map))
                        return false;
                if ((uintptr_t)map / page == p / page)
                        return true;
        }
        return false;
}

/* What can be read at p without leaving its page; 0: p is not the dynamic linker's. */
static size_t loader_room(const void *block)
{
        uintptr_t p = (uintptr_t)block, end = loader_end();
        size_t page = base_page();
        bool behind = p >= end && p < pld_round_up(end, page);
        return behind || is_beside_a_map(p, page) ? page - p % page : 0;
}

/* ---- Start ---------------------------------------------------------------------------------- */

__attribute__((constructor)) static void start(int argc, char **argv, char **envp) /* Y3 */
{
        (void)argc;
        (void)argv;
        if (!environ)
                environ = envp;
        pld_stranger_room = loader_room;
        pld_decay_be_discreet();
        pld_arena_start(NULL);
}
