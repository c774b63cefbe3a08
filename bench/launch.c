/* launch: how long does a program take, and how much memory, under this malloc?
 *
 * usage: launch LIBRARY TIMES PROGRAM [ARGUMENT…]
 *
 * Runs the program so many times with the library preloaded (`-`: none), and writes
 * to file descriptor 3, when all have ended, one line: seconds on the wall, seconds of CPU and
 * the greatest resident memory of any of the processes. Only the program and what it starts sees
 * LD_PRELOAD. This is a small program, for a child's peak begins with its parent's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RESULT = 3 };

static double seconds_of(struct timeval time)
{
        return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double now(void)
{
        struct timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int run_once(const char *library, char **program)
{
        int status;
        pid_t child = fork();
        if (child < 0)
                return 126;
        if (!child) {
                if (strcmp(library, "-"))
                        setenv("LD_PRELOAD", library, 1);
                execvp(program[0], program);
                fprintf(stderr, "launch: %s: %s\n", program[0], strerror(errno));
                _exit(127);
        }
        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        return 126;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
        if (argc < 4) {
                fprintf(stderr, "usage: launch LIBRARY TIMES PROGRAM [ARGUMENT...]\n");
                return 2;
        }
        fcntl(RESULT, F_SETFD, FD_CLOEXEC);
        double start = now();
        for (int i = atoi(argv[2]); i > 0; i--) {
                int failed = run_once(argv[1], argv + 3);
                if (failed)
                        return failed;
        }
        struct rusage used;
        getrusage(RUSAGE_CHILDREN, &used);
        dprintf(RESULT, "wall_s=%.6f cpu_s=%.6f peak_kib=%ld\n", now() - start,
                seconds_of(used.ru_utime) + seconds_of(used.ru_stime), used.ru_maxrss);
        return 0;
}
