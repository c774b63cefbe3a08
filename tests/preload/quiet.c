/* quiet.c: what the library must not do to a program: threads, signal handlers,
 * settings. To be run with POLDER_DECAY_MS=50. */
#include "tests/preload/check.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { NBLOCKS = 64, BLOCK = 1 << 20, NSMALL = 250000, SMALL = 256 };

static unsigned count_threads(void)
{
        unsigned n = 0;
        DIR *tasks = opendir("/proc/self/task");
        for (struct dirent *entry; tasks && (entry = readdir(tasks));)
                n += entry->d_name[0] != '.';
        if (tasks)
                closedir(tasks);
        return n;
}

/* Left open by whoever read the kernel's tables. */
static unsigned count_leaks(void)
{
        unsigned n = 0;
        for (int fd = 0; fd < 256; fd++) {
                char link[64], to[256] = "";
                snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
                if (readlink(link, to, sizeof to - 1) > 0)
                        n += !strncmp(to, "/sys/", 5) || !strncmp(to, "/proc/", 6);
        }
        return n;
}

static unsigned count_handlers(void)
{
        unsigned n = 0;
        for (int number = 1; number < NSIG; number++) {
                struct sigaction action;
                if (sigaction(number, NULL, &action) == 0)
                        n += action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
        }
        return n;
}

static long resident_kib(void)
{
        long total = 0, resident = 0;
        FILE *statm = fopen("/proc/self/statm", "r");
        if (!statm || fscanf(statm, "%ld %ld", &total, &resident) != 2)
                resident = -1;
        if (statm)
                fclose(statm);
        return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void fill_and_free(void)
{
        static char *blocks[NBLOCKS];
        for (int i = 0; i < NBLOCKS; i++) {
                blocks[i] = malloc(BLOCK);
                memset(blocks[i], 1, BLOCK);
        }
        for (int i = 0; i < NBLOCKS; i++)
                free(blocks[i]);
}

/* A peak of small blocks, beyond `most`, of which one in ten stays, in runs. */
static void shrink(long most)
{
        static char *blocks[NSMALL];
        for (int i = 0; i < NSMALL; i++) {
                blocks[i] = malloc(SMALL);
                memset(blocks[i], 1, SMALL);
        }
        CHECK(resident_kib() > most);
        for (int i = 0; i < NSMALL; i++)
                if (i / 1000 % 10)
                        free(blocks[i]);
}

static void rest(long ms)
{
        nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

static void *do_nothing(void *arg)
{
        return arg;
}

int main(void)
{
        CHECK(is_polders("malloc"));
        CHECK(count_leaks() == 0);
        CHECK(count_handlers() == 0);
        CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 0);
        sigset_t blocked;
        sigprocmask(SIG_BLOCK, NULL, &blocked);
        CHECK(sigisemptyset(&blocked));

        long before = resident_kib();
        fill_and_free();
        CHECK(count_threads() == 1);
        for (int i = 0; i < 20 && resident_kib() > before + NBLOCKS * 1024 / 2; i++) {
                rest(100);
                free(malloc(1 << 20)); /* whoever does looks after what is idle */
        }
        CHECK(resident_kib() <= before + NBLOCKS * 1024 / 2);
        CHECK(count_threads() == 1);

        before = resident_kib();
        long most = before + (long)NSMALL * SMALL / 2 / 1024;
        shrink(most);
        for (int i = 0; i < 50 && resident_kib() > most; i++) {
                rest(20);
                for (int k = 0; k < 1000; k++)
                        free(malloc(SMALL)); /* there is always one at hand */
        }
        CHECK(resident_kib() <= most);
        CHECK(count_threads() == 1);

        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, do_nothing, NULL) == 0);
        pthread_join(thread, NULL);
        fill_and_free();
        fill_and_free();
        for (int i = 0; i < 50 && resident_kib() > before + NBLOCKS * 1024 / 2; i++)
                rest(100); /* nobody frees: a thread does it */
        CHECK(resident_kib() <= before + NBLOCKS * 1024 / 2);
        CHECK(count_threads() <= 2);
        CHECK(count_handlers() == 0);
        return report();
}
