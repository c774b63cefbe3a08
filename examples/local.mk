# What the command lines of the servers have in common.
OPTIONS_SOURCES = examples/options.c examples/options.h

# The example server, over Polder and over the baseline; all but memory_* is shared.
KVD_SOURCES = \
	examples/kvd/admin.c examples/kvd/admin.h \
	examples/kvd/command.c examples/kvd/command.h \
	examples/kvd/hashes.c examples/kvd/hashes.h \
	examples/kvd/keys.c examples/kvd/keys.h \
	examples/kvd/lists.c examples/kvd/lists.h \
	examples/kvd/main.c \
	examples/kvd/map.c examples/kvd/map.h \
	examples/kvd/memory.h \
	examples/kvd/resp.c examples/kvd/resp.h \
	examples/kvd/server.c examples/kvd/server.h \
	examples/kvd/settings.h \
	examples/kvd/store.c examples/kvd/store.h \
	examples/kvd/strings.c examples/kvd/strings.h \
	examples/kvd/tally.c examples/kvd/tally.h \
	examples/kvd/value.c examples/kvd/value.h \
	$(OPTIONS_SOURCES)

if HAVE_UV
noinst_PROGRAMS += examples/kvd/kvd
endif
examples_kvd_kvd_SOURCES = $(KVD_SOURCES) \
	examples/kvd/memory_polder.c examples/kvd/memory_polder.h
examples_kvd_kvd_CPPFLAGS = $(AM_CPPFLAGS) -DKVD_POLDER $(UV_CFLAGS)
examples_kvd_kvd_LDADD = libpolder.la $(UV_LIBS)

if HAVE_BASELINE
noinst_PROGRAMS += examples/kvd/kvd-malloc
endif
examples_kvd_kvd_malloc_SOURCES = $(KVD_SOURCES) \
	examples/kvd/memory_rcu.c examples/kvd/memory_rcu.h
examples_kvd_kvd_malloc_CPPFLAGS = $(AM_CPPFLAGS) -DKVD_RCU $(UV_CFLAGS) \
	$(JEMALLOC_CFLAGS) $(URCU_CFLAGS)
examples_kvd_kvd_malloc_LDADD = $(UV_LIBS) $(JEMALLOC_LIBS) $(URCU_LIBS)

EXTRA_DIST += examples/kvd/load.sh

# An echo server whose buffers are registered with io_uring.
if HAVE_URING
noinst_PROGRAMS += examples/uring_echo/uring_echo
endif
examples_uring_echo_uring_echo_SOURCES = \
	examples/uring_echo/buffers.c examples/uring_echo/buffers.h \
	examples/uring_echo/echo.c examples/uring_echo/echo.h \
	examples/uring_echo/main.c \
	$(OPTIONS_SOURCES)
examples_uring_echo_uring_echo_CPPFLAGS = $(AM_CPPFLAGS) $(URING_CFLAGS)
examples_uring_echo_uring_echo_LDADD = libpolder.la $(URING_LIBS)

# Lock-free structures on the collected heap, and a program that uses them all.
LOCKFREE_SOURCES = \
	examples/lockfree/map.c examples/lockfree/map.h \
	examples/lockfree/queue.c examples/lockfree/queue.h \
	examples/lockfree/sorted.c examples/lockfree/sorted.h \
	examples/lockfree/stack.c examples/lockfree/stack.h
noinst_PROGRAMS += examples/lockfree/demo
examples_lockfree_demo_SOURCES = $(LOCKFREE_SOURCES) examples/lockfree/demo.c
examples_lockfree_demo_LDADD = libpolder.la
