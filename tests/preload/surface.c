/* surface.c: every C, POSIX and GNU call, as their standards have them. Knows nothing
 * of Polder but that it should be there. */
#include "tests/preload/check.h"

#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

void cfree(void *p);
void free_sized(void *p, size_t nbytes);
void free_aligned_sized(void *p, size_t align, size_t nbytes);
void *__libc_malloc(size_t nbytes);
void __libc_free(void *p);
/* The first two are not in this C library: they are found in the preloaded one only. */
#pragma weak free_sized
#pragma weak free_aligned_sized
#pragma weak cfree

/* The compiler knows too much about malloc(): it is asked through these. */
static void *(*volatile malloc_)(size_t) = malloc;
static void *(*volatile calloc_)(size_t, size_t) = calloc;
static void *(*volatile realloc_)(void *, size_t) = realloc;
static void (*volatile free_)(void *) = free;
static void *(*volatile reallocarray_)(void *, size_t, size_t) = reallocarray;
static void *(*volatile memalign_)(size_t, size_t) = memalign;
static void *(*volatile aligned_alloc_)(size_t, size_t) = aligned_alloc;
static int (*volatile posix_memalign_)(void **, size_t, size_t) = posix_memalign;
static void *(*volatile pvalloc_)(size_t) = pvalloc;

static int is_aligned(const void *p, size_t align)
{
        return p && (uintptr_t)p % align == 0;
}

/* Every byte that may be used can be. */
static int is_usable(void *p, size_t nbytes)
{
        size_t room = malloc_usable_size(p);
        if (!p || room < nbytes)
                return 0;
        memset(p, 0x5a, room);
        return 1;
}

static void check_presence(void)
{
        static const char *const names[] = {
                "malloc",
                "free",
                "calloc",
                "realloc",
                "aligned_alloc",
                "free_sized",
                "free_aligned_sized",
                "posix_memalign",
                "valloc",
                "memalign",
                "pvalloc",
                "reallocarray",
                "cfree",
                "malloc_usable_size",
                "malloc_trim",
                "mallinfo",
                "mallinfo2",
                "malloc_info",
                "malloc_stats",
                "mallopt",
                "__libc_malloc",
                "__libc_free",
                "__libc_calloc",
                "__libc_realloc",
                "__libc_memalign",
                "__libc_valloc",
                "__libc_pvalloc",
                "__posix_memalign",
                "_Znwm",
                "_Znam",
                "_ZdlPv",
                "_ZdaPvmSt11align_val_t",
        };
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                count_fact(is_polders(names[i]), names[i], __FILE__, __LINE__);
        CHECK(!dlsym(RTLD_DEFAULT, "polder_malloc")); /* and nothing more than that */
        CHECK(!dlsym(RTLD_DEFAULT, "pld_range"));
}

static void check_malloc(void)
{
        int good = 1;
        for (size_t nbytes = 0; nbytes < 300000;
             nbytes = nbytes < 40 ? nbytes + 1 : nbytes * 9 / 8) {
                errno = 42;
                void *p = malloc_(nbytes);
                good &= is_aligned(p, 16) && is_usable(p, nbytes) && errno == 42;
                free_(p);
                good &= errno == 42;
        }
        CHECK(good);
        void *a = malloc_(0), *b = malloc_(0);
        CHECK(a && b && a != b);
        free_(a);
        free_(b);
        free_(NULL);
        CHECK(malloc_usable_size(NULL) == 0);
        errno = 0;
        CHECK(!malloc_(SIZE_MAX) && errno == ENOMEM);
        errno = 0;
        CHECK(!malloc_((size_t)PTRDIFF_MAX + 1) && errno == ENOMEM);
        errno = 0;
        CHECK(!malloc_((size_t)PTRDIFF_MAX - 4096) && errno == ENOMEM);
}

static int is_zero(const char *p, size_t nbytes)
{
        for (size_t i = 0; i < nbytes; i++)
                if (p[i])
                        return 0;
        return 1;
}

static void check_calloc(void)
{
        int good = 1;
        for (int round = 0; round < 3; round++)
                for (size_t nbytes = 1; nbytes < 9000000; nbytes = nbytes * 3 + 1) {
                        char *p = calloc_(nbytes, 1);
                        good &= p && is_zero(p, nbytes);
                        if (p)
                                memset(p, 1, nbytes);
                        free_(p);
                }
        CHECK(good);
        errno = 0;
        CHECK(!calloc_(SIZE_MAX / 2 + 2, 2) && errno == ENOMEM);
        errno = 0;
        CHECK(!calloc_((size_t)1 << 33, (size_t)1 << 33) && errno == ENOMEM);
        void *p = calloc_(0, 8), *q = calloc_(8, 0);
        CHECK(p && q && p != q);
        free_(p);
        free_(q);
}

static void check_realloc(void)
{
        char *p = realloc_(NULL, 10);
        CHECK(p);
        memcpy(p, "123456789", 10);
        int good = 1;
        for (size_t nbytes = 10; nbytes < 20000000; nbytes *= 2) {
                p = realloc_(p, nbytes);
                good &= p && is_aligned(p, 16) && !memcmp(p, "123456789", 10);
        }
        for (size_t nbytes = 20000000; nbytes >= 10; nbytes /= 3) {
                p = realloc_(p, nbytes);
                good &= p && is_aligned(p, 16) && !memcmp(p, "123456789", 10);
        }
        CHECK(good);
        errno = 0;
        CHECK(!realloc_(p, SIZE_MAX) && errno == ENOMEM);
        CHECK(!memcmp(p, "123456", 6)); /* still there */
        errno = 42;
        CHECK(!realloc_(p, 0) && errno == 42); /* freed, as glibc does */
        p = reallocarray_(NULL, 100, 7);
        CHECK(is_usable(p, 700));
        errno = 0;
        CHECK(!reallocarray_(p, SIZE_MAX / 4, 8) && errno == ENOMEM);
        p = reallocarray_(p, 1000, 7);
        CHECK(is_usable(p, 7000));
        free_(p);
}

static void check_aligned(void)
{
        static const size_t sizes[] = { 0, 1, 17, 100, 1000, 5000, 33000, 300000 };
        int good_memalign = 1, good_posix = 1, good_c11 = 1;
        for (size_t align = 1; align <= (size_t)1 << 20; align *= 2)
                for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                        void *p = memalign_(align, sizes[i]), *q = aligned_alloc_(align, sizes[i]);
                        void *r = NULL;
                        good_memalign &= is_aligned(p, align) && is_usable(p, sizes[i]);
                        good_c11 &= is_aligned(q, align) && is_usable(q, sizes[i]);
                        errno = 42;
                        if (align >= sizeof(void *))
                                good_posix &= posix_memalign_(&r, align, sizes[i]) == 0 &&
                                              is_aligned(r, align) && is_usable(r, sizes[i]);
                        good_posix &= errno == 42;
                        p = realloc_(p, sizes[i] + 5000); /* needs no alignment to be kept */
                        good_memalign &= is_usable(p, sizes[i] + 5000);
                        free_(p);
                        free_(q);
                        free_(r);
                }
        CHECK(good_memalign);
        CHECK(good_posix);
        CHECK(good_c11);
        void *p = memalign_(48, 100);
        CHECK(is_aligned(p, 64));
        free_(p);
        p = memalign_(0, 100);
        CHECK(p);
        free_(p);
        void *untouched = &untouched, *out = untouched;
        CHECK(posix_memalign_(&out, 4, 100) == EINVAL && out == untouched);
        CHECK(posix_memalign_(&out, 24, 100) == EINVAL && out == untouched);
        CHECK(posix_memalign_(&out, 64, SIZE_MAX - 100) == ENOMEM && out == untouched);
        errno = 0;
        CHECK(!aligned_alloc_(24, 100) && errno == EINVAL);
        errno = 0;
        CHECK(!memalign_((size_t)1 << 63, 100) && errno == EINVAL);
        errno = 0;
        CHECK(!memalign_(4096, SIZE_MAX - 10) && errno == ENOMEM);
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        p = valloc(10);
        CHECK(is_aligned(p, page) && is_usable(p, 10));
        free_(p);
        p = pvalloc_(page + 1);
        CHECK(is_aligned(p, page) && is_usable(p, 2 * page));
        free_(p);
        errno = 0;
        CHECK(!pvalloc_(SIZE_MAX - 1) && errno == ENOMEM);
}

static void check_other_frees(void)
{
        CHECK(cfree && free_sized && free_aligned_sized);
        if (!cfree || !free_sized || !free_aligned_sized)
                return;
        cfree(malloc_(100));
        free_sized(malloc_(100), 100);
        free_sized(NULL, 0);
        free_aligned_sized(aligned_alloc_(256, 512), 256, 512);
        void *p = __libc_malloc(50); /* and whoever frees it with the other name */
        free_(p);
        __libc_free(malloc_(50));
}

static void check_questions(void)
{
        void *p = malloc_(1 << 20);
        struct mallinfo2 wide = mallinfo2();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
        CHECK(wide.uordblks >= 1 << 20 && wide.arena >= wide.uordblks);
        CHECK((size_t)narrow.uordblks == wide.uordblks);
        free_(p);
        CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
        CHECK(mallopt(12345, 1) == 0);
        int trimmed = malloc_trim(0);
        CHECK(trimmed == 0 || trimmed == 1);
        char text[1000] = "";
        FILE *memory = fmemopen(text, sizeof text, "w");
        CHECK(malloc_info(0, memory) == 0);
        CHECK(malloc_info(1, memory) == EINVAL);
        fclose(memory);
        CHECK(strstr(text, "<malloc version=") && strstr(text, "</malloc>"));
        malloc_stats();
}

/* ---- What is not a block ------------------------------------------------------------ */

/* The last thing the function says before it dies of SIGABRT; empty: it lived. */
static const char *last_words(void (*fn)(void))
{
        static char words[1000];
        int fds[2], status;
        memset(words, 0, sizeof words);
        if (pipe(fds))
                return words;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
                dup2(fds[1], STDERR_FILENO);
                fn();
                _exit(0);
        }
        close(fds[1]);
        for (size_t n = 0; n < sizeof words - 1;) {
                ssize_t got = read(fds[0], words + n, sizeof words - 1 - n);
                if (got <= 0)
                        break;
                n += (size_t)got;
        }
        close(fds[0]);
        waitpid(child, &status, 0);
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? words : "";
}

static void free_twice(void)
{
        char *p = malloc_(100);
        free_(p);
        free_(p);
}

static void free_large_twice(void)
{
        char *p = malloc_(1 << 20);
        free_(p);
        free_(p);
}

static void free_huge_twice(void)
{
        char *p = malloc_(64 << 20);
        free_(p);
        free_(p);
}

static void free_inside(void)
{
        free_((char *)malloc_(100) + 16);
}

static void free_stack(void)
{
        char local[16];
        free_(local);
}

static void realloc_wild(void)
{
        void *unused = realloc_((void *)0x123456789000, 5);
        (void)unused;
}

static void usable_of_static(void)
{
        static char here[16];
        malloc_usable_size(here);
}

static void check_misuse(void)
{
        CHECK(strstr(last_words(free_twice), "polder: double free of 0x"));
        CHECK(strstr(last_words(free_large_twice), "polder: double free of 0x"));
        CHECK(strstr(last_words(free_huge_twice), "which is not from Polder, or was freed"));
        CHECK(strstr(last_words(free_inside), "points inside a block"));
        CHECK(strstr(last_words(free_stack), "which is not from Polder"));
        CHECK(strstr(last_words(realloc_wild), "realloc of 0x123456789000, which is not from"));
        CHECK(strstr(last_words(usable_of_static), "which is not from Polder"));
}

/* The dynamic linker's blocks, from before it called us: they may come back. */
static void check_strangers(void)
{
        int nnames = 0, good = 1;
        for (struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
                if (!strstr(map->l_name, ".so.") || map->l_addr == getauxval(AT_SYSINFO_EHDR) ||
                    map->l_addr == getauxval(AT_BASE))
                        continue; /* those names are no blocks */
                char *copy = realloc_(map->l_name, 4000);
                good &= copy && copy != map->l_name && !strcmp(copy, map->l_name);
                free_(copy);
                free_(map->l_name);
                good &= map->l_name[0] == '/';
                nnames++;
        }
        CHECK(nnames > 1 && good);
}

int main(void)
{
        check_presence();
        check_malloc();
        check_calloc();
        check_realloc();
        check_aligned();
        check_other_frees();
        check_questions();
        check_misuse();
        check_strangers();
        return report();
}
