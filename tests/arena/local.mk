tests_arena_unit_SOURCES = \
	tests/arena/arena_test.h tests/arena/page_heap_test.h \
	tests/arena/test_ahead.c \
	tests/arena/test_arena.c \
	tests/arena/test_bin.c \
	tests/arena/test_bump.c \
	tests/arena/test_cache.c \
	tests/arena/test_central.c \
	tests/arena/test_decay.c \
	tests/arena/test_extent.c \
	tests/arena/test_form.c \
	tests/arena/test_gigantic.c \
	tests/arena/test_heap.c \
	tests/arena/test_huge.c \
	tests/arena/test_malloc.c \
	tests/arena/test_manual.c \
	tests/arena/test_migrate.c \
	tests/arena/test_page_heap.c \
	tests/arena/test_page_map.c \
	tests/arena/test_pool.c \
	tests/arena/test_promote.c \
	tests/arena/test_region.c \
	tests/arena/test_report.c \
	tests/arena/test_settings.c \
	tests/arena/test_shed.c \
	tests/arena/test_shed_spans.c \
	tests/arena/test_size_class.c \
	tests/arena/test_span.c \
	tests/arena/test_sweep.c \
	tests/arena/test_visit.c
tests_arena_unit_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_arena_unit_LDADD = libpld_fake.la $(FLOOR2) $(CRITERION_LIBS)

if HAVE_CRITERION
if !TSAN
units += tests/arena_unit
endif
endif

# Every sanitizer can watch this one.
check_PROGRAMS += tests/arena/stress_malloc
TESTS += tests/arena/stress_malloc
tests_arena_stress_malloc_LDADD = $(FLOOR2)

# Likewise: listeners come and go while threads change what is backed.
check_PROGRAMS += tests/arena/extent_threads
TESTS += tests/arena/extent_threads
tests_arena_extent_threads_LDADD = $(FLOOR2)
