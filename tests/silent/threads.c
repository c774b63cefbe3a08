#include "tests/silent/threads.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
        pid_t id;
        char name[NAME_BYTES];
} threads[MAX_THREADS];
static int nthreads;

static void note(pid_t id)
{
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d/comm", id);
        FILE *file = fopen(path, "r");
        if (!file || nthreads == MAX_THREADS)
                goto out;
        threads[nthreads].id = id;
        if (!fgets(threads[nthreads].name, NAME_BYTES, file))
                threads[nthreads].name[0] = '\0';
        threads[nthreads].name[strcspn(threads[nthreads].name, "\n")] = '\0';
        nthreads++;
out:
        if (file)
                fclose(file);
}

int threads_note(void)
{
        pid_t self = gettid();
        nthreads = 0;
        note(self);
        DIR *folder = opendir("/proc/self/task");
        if (!folder)
                return nthreads;
        for (struct dirent *entry; (entry = readdir(folder));) {
                pid_t id = (pid_t)atol(entry->d_name);
                if (id > 0 && id != self)
                        note(id);
        }
        closedir(folder);
        return nthreads;
}

int thread_number(pid_t id)
{
        for (int i = 0; i < nthreads; i++)
                if (threads[i].id == id)
                        return i;
        return -1;
}

const char *thread_name(int number)
{
        return number < 0 || number >= nthreads ? "another" : threads[number].name;
}
