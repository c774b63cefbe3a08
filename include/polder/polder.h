/* polder.h: everything Polder offers.
 *
 * Everything is thread-safe unless it says otherwise. Sizes are bytes. A
 * function that returns int returns 0 (or what its comment names) or a negative
 * errno. A function that allocates returns NULL with errno = ENOMEM (or EINVAL
 * for arguments that no memory could satisfy), and never takes the process down. */
#ifndef POLDER_POLDER_H
#define POLDER_POLDER_H

#include <polder/arena.h>
#include <polder/collected.h>
#include <polder/ephemeron.h>
#include <polder/extent.h>
#include <polder/heap.h>
#include <polder/pool.h>
#include <polder/region.h>
#include <polder/start.h>
#include <polder/stats.h>
#include <polder/thread.h>

#endif
