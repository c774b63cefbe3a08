#include "examples/uring_echo/buffers.h"

#include <errno.h>
#include <polder/extent.h>

enum { BUFFERS_MAX = 1024 };

#define BUFFER_BYTES ((size_t)1 << 30) /* the kernel's limit for one buffer */

static struct iovec buffers[BUFFERS_MAX];
static unsigned count;

static int add(const struct polder_extent *extent, bool added, void *arg)
{
        (void)added, (void)arg;
        for (size_t at = 0; at < extent->nbytes; at += BUFFER_BYTES) {
                size_t left = extent->nbytes - at;
                if (count == BUFFERS_MAX)
                        return -ENOSPC;
                buffers[count++] = (struct iovec){
                        .iov_base = (char *)extent->start + at,
                        .iov_len = left < BUFFER_BYTES ? left : BUFFER_BYTES,
                };
        }
        return 0;
}

int buffers_register(struct io_uring *ring)
{
        int error = polder_extents(add, NULL);
        return error ? error : io_uring_register_buffers(ring, buffers, count);
}

int buffers_find(const char *at, size_t nbytes)
{
        for (unsigned i = 0; i < count; i++) {
                size_t offset = (size_t)(at - (char *)buffers[i].iov_base);
                if (offset < buffers[i].iov_len && nbytes <= buffers[i].iov_len - offset)
                        return (int)i;
        }
        return -1;
}

unsigned buffers_count(void)
{
        return count;
}

size_t buffers_nbytes(void)
{
        size_t sum = 0;
        for (unsigned i = 0; i < count; i++)
                sum += buffers[i].iov_len;
        return sum;
}
