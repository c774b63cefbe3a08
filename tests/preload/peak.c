/* peak.c: runs a command and says its peak of resident memory, in KiB, on standard
 * error.
 *
 * usage: peak [LIBRARY-TO-PRELOAD|-] COMMAND [ARGUMENT...] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
        int status;
        struct rusage usage;
        if (argc < 3)
                return 2;
        pid_t child = fork();
        if (child == 0) {
                if (strcmp(argv[1], "-") != 0)
                        setenv("LD_PRELOAD", argv[1], 1);
                execvp(argv[2], argv + 2);
                _exit(127);
        }
        if (child < 0 || wait4(child, &status, 0, &usage) != child)
                return 2;
        fprintf(stderr, "%ld\n", usage.ru_maxrss);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
