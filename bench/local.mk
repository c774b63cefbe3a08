# Benches measure; they assert nothing. `make bench` builds and runs them: bench-malloc is the
# library under unmodified programs beside other allocators, bench-collectors the collector beside
# others, bench-stops what threads wait for stops, bench-pairs the arena and the example server
# beside jemalloc.
EXTRA_PROGRAMS = bench/workload bench/launch
bench_workload_SOURCES = \
	bench/workloads/build.c \
	bench/workloads/churn.c \
	bench/workloads/handoff.c \
	bench/workloads/memory.c \
	bench/workloads/pair.c \
	bench/workloads/realloc.c \
	bench/workloads/scratch.c \
	bench/workloads/threads.c \
	bench/workloads/workload.c bench/workloads/workload.h bench/own.h
bench_workload_CFLAGS = $(AM_CFLAGS) -O2 -fno-builtin-malloc -fno-builtin-calloc \
	-fno-builtin-realloc -fno-builtin-free
bench_workload_LDADD = -lm
bench_launch_SOURCES = bench/launch.c

BENCH_PAIRS = bench/pool_pair bench/mark_graph
bench_mark_graph_SOURCES = bench/mark_graph.c
bench_mark_graph_LDADD = $(FLOOR3)
bench_pool_pair_SOURCES = bench/pool_pair.c
bench_pool_pair_LDADD = $(FLOOR2)
if HAVE_BASELINE
BENCH_PAIRS += bench/malloc_pair bench/new_pair bench/queue_pair
endif
EXTRA_PROGRAMS += $(BENCH_PAIRS)
bench_new_pair_SOURCES = bench/new_pair.c
bench_new_pair_CFLAGS = $(AM_CFLAGS) -fno-builtin-malloc -fno-builtin-free
bench_new_pair_LDADD = $(FLOOR3) $(JEMALLOC_LIBS)
bench_malloc_pair_SOURCES = bench/malloc_pair.c
bench_malloc_pair_CFLAGS = $(AM_CFLAGS) -fno-builtin-malloc -fno-builtin-free
bench_malloc_pair_LDADD = $(FLOOR2) $(JEMALLOC_LIBS)
bench_queue_pair_SOURCES = bench/queue_pair.c examples/lockfree/queue.c examples/lockfree/queue.h
bench_queue_pair_CPPFLAGS = $(AM_CPPFLAGS) $(JEMALLOC_CFLAGS) $(URCU_CFLAGS)
bench_queue_pair_CFLAGS = $(AM_CFLAGS) -O2
bench_queue_pair_LDADD = $(FLOOR3) $(JEMALLOC_LIBS) $(URCU_LIBS) -lurcu-cds

# The loads of bench/collectors.sh, over Polder; the script compiles them for the contestants.
# They are no scripts of libtool's, so that callgrind sees them.
EXTRA_PROGRAMS += bench/load-polder bench/load-polder-plain
LOAD_SOURCES = \
	bench/collectors/bound.c \
	bench/collectors/cache.c \
	bench/collectors/graph.c bench/collectors/graph.h \
	bench/collectors/halts.c \
	bench/collectors/lives.c \
	bench/collectors/load.c bench/collectors/load.h bench/own.h \
	bench/collectors/memory.c bench/collectors/memory.h \
	bench/collectors/stops.c \
	bench/collectors/trees.c \
	bench/collectors/waits.c bench/collectors/waits.h
bench_load_polder_SOURCES = $(LOAD_SOURCES)
bench_load_polder_CPPFLAGS = $(AM_CPPFLAGS) -DMEMORY_POLDER
bench_load_polder_CFLAGS = $(AM_CFLAGS) -O2
bench_load_polder_LDFLAGS = $(AM_LDFLAGS) -no-install
bench_load_polder_LDADD = libpolder.la -lm
bench_load_polder_plain_SOURCES = $(LOAD_SOURCES)
bench_load_polder_plain_CPPFLAGS = $(AM_CPPFLAGS) -DMEMORY_POLDER -DMEMORY_PLAIN_EXCHANGE
bench_load_polder_plain_CFLAGS = $(AM_CFLAGS) -O2
bench_load_polder_plain_LDFLAGS = $(AM_LDFLAGS) -no-install
bench_load_polder_plain_LDADD = libpolder.la -lm
EXTRA_DIST += bench/collectors/go

# The maps of bench/map_race.
RACE_SOURCES = bench/maps/map.h bench/maps/race.c
RACES = bench/race-polder
bench_race_polder_SOURCES = $(RACE_SOURCES) bench/maps/map_polder.c \
	examples/lockfree/map.c examples/lockfree/map.h
bench_race_polder_CFLAGS = $(AM_CFLAGS) -O2
bench_race_polder_LDFLAGS = $(AM_LDFLAGS) -no-install
bench_race_polder_LDADD = libpolder.la
if HAVE_BASELINE
RACES += bench/race-rcu bench/race-locks
endif
bench_race_rcu_SOURCES = $(RACE_SOURCES) bench/maps/map_rcu.c \
	examples/kvd/memory.h examples/kvd/memory_rcu.c examples/kvd/memory_rcu.h
bench_race_rcu_CPPFLAGS = $(AM_CPPFLAGS) -DKVD_RCU $(JEMALLOC_CFLAGS) $(URCU_CFLAGS)
bench_race_rcu_CFLAGS = $(AM_CFLAGS) -O2
bench_race_rcu_LDADD = $(JEMALLOC_LIBS) $(URCU_LIBS) -lurcu-cds
bench_race_locks_SOURCES = $(RACE_SOURCES) bench/maps/map_locks.c
bench_race_locks_CFLAGS = $(AM_CFLAGS) -O2
bench_race_locks_LDADD = $(JEMALLOC_LIBS)
EXTRA_PROGRAMS += $(RACES)
EXTRA_DIST += bench/map_race
CLEANFILES += $(EXTRA_PROGRAMS)

EXTRA_DIST += bench/callgrind.sh bench/collectors.sh bench/collectors_report.py \
	bench/collectors/rows bench/contestants.sh bench/kvd_pair bench/machine.sh bench/options.sh \
	bench/picture.py bench/programs bench/report.py bench/rows bench/run.sh
# What README.md refers to.
EXTRA_DIST += bench/results/collectors.txt bench/results/collectors-machine.txt \
	bench/results/machine.txt bench/results/table.txt

.PHONY: bench bench-collectors bench-malloc bench-pairs bench-bypass bench-callgrind bench-stops
bench: bench-malloc bench-collectors bench-pairs bench-bypass
bench-malloc: bench/workload bench/launch $(lib_LTLIBRARIES)
	$(srcdir)/bench/run.sh $(BENCH_FLAGS)
bench-collectors: bench/load-polder bench/load-polder-plain $(RACES)
	$(srcdir)/bench/collectors.sh $(BENCH_FLAGS)
bench-stops: bench/load-polder
	for mode in work loop block call; do \
		./bench/load-polder halts mode=$$mode threads=64 seconds=5 || exit 1; done
	./bench/load-polder halts mode=deep depth=100 threads=8 seconds=5
	POLDER_DEBUG=gctrace=1 ./bench/load-polder stops count=$${STOPS_MIB:-2048} threads=64 cycles=8 \
		2>/dev/null
bench-callgrind: bench/workload $(lib_LTLIBRARIES)
	$(srcdir)/bench/callgrind.sh
bench-bypass: tests/silent/bypass
	./tests/silent/bypass 1000000000
bench-pairs: $(BENCH_PAIRS) $(RACES) $(bin_PROGRAMS) $(noinst_PROGRAMS)
	for bench in $(BENCH_PAIRS); do ./$$bench || exit 1; done
	$(srcdir)/bench/kvd_pair
	$(srcdir)/bench/map_race
