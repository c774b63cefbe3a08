# Benches measure; they assert nothing. `make bench` builds and runs them.
EXTRA_PROGRAMS =
if HAVE_BASELINE
EXTRA_PROGRAMS += bench/malloc_pair
endif
bench_malloc_pair_SOURCES = bench/malloc_pair.c
bench_malloc_pair_CFLAGS = $(AM_CFLAGS) -fno-builtin-malloc -fno-builtin-free
bench_malloc_pair_LDADD = $(FLOOR2) $(JEMALLOC_LIBS)
CLEANFILES += $(EXTRA_PROGRAMS)

EXTRA_DIST += bench/kvd_pair

.PHONY: bench
bench: $(EXTRA_PROGRAMS)
	for bench in $(EXTRA_PROGRAMS); do ./$$bench || exit 1; done
	$(srcdir)/bench/kvd_pair
