/* asleep.c: a thread that made much, handed it over and sleeps keeps none of what another freed
 * of it. Meanwhile nobody takes more than a few small blocks. To be run with
 * POLDER_DECAY_MS=500.
 *
 * usage: asleep NBYTES   of a block */
#include "tests/preload/check.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { ALL_BYTES = 200 << 20, STEP_MS = 20, PATIENCE_MS = 10000 };

static size_t nbytes, count;
static char **blocks;
static volatile int made, freed;

static long resident_kib(void)
{
        char line[200];
        long total, resident;
        FILE *file = fopen("/proc/self/statm", "r");
        if (!file)
                abort();
        setvbuf(file, line, _IOFBF, sizeof line); /* so that stdio takes next to nothing */
        if (fscanf(file, "%ld %ld", &total, &resident) != 2)
                abort();
        fclose(file);
        return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void rest(void)
{
        nanosleep(&(struct timespec){ .tv_nsec = STEP_MS * 1000000 }, NULL);
}

static void *make(void *unused)
{
        for (size_t i = 0; i < count; i++) {
                blocks[i] = malloc(nbytes);
                memset(blocks[i], 1, nbytes);
        }
        made = 1;
        for (;;)
                pause();
        return unused;
}

static void *use(void *unused)
{
        for (size_t i = 0; i < count; i++)
                free(blocks[i]);
        freed = 1;
        for (;;)
                pause();
        return unused;
}

int main(int argc, char **argv)
{
        pthread_t maker, user;
        nbytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
        if (!nbytes)
                return 2;
        count = ALL_BYTES / nbytes;
        blocks = calloc(count, sizeof *blocks);
        memset(blocks, 0, count * sizeof *blocks);
        long before = resident_kib(), most = ALL_BYTES / 1024;
        CHECK(!pthread_create(&maker, NULL, make, NULL));
        while (!made)
                rest();
        CHECK(resident_kib() >= before + most);
        CHECK(!pthread_create(&user, NULL, use, NULL));
        while (!freed)
                rest();
        for (int waited = 0; waited < PATIENCE_MS && resident_kib() > before + most / 8;
             waited += STEP_MS)
                rest();
        printf("blocks of %zu bytes: %ld KiB of %ld are left\n", nbytes, resident_kib() - before,
               most);
        CHECK(resident_kib() <= before + most / 8);
        return report();
}
