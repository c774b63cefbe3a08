/* os_text.h: the kernel's small text files. They are read by whoever needs memory, perhaps
 * under locks: so not by the C library's calls, which are cancellation points. */
#ifndef PLD_NUMA_OS_TEXT_H
#define PLD_NUMA_OS_TEXT_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The file's text without its last newline, as far as there is room; -errno. */
static inline int pld_text_read(const char *path, char *text, size_t room)
{
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        size_t n = 0;
        while (n < room - 1) {
                ssize_t got = syscall(SYS_read, fd, text + n, room - 1 - n);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        break;
                n += (size_t)got;
        }
        syscall(SYS_close, fd);
        if (n > 0 && text[n - 1] == '\n')
                n--;
        text[n] = '\0';
        return 0;
}

#endif
