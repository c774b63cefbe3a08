# Every test runs under tests/run-unit, which insists on a line `N passed, N failed`.
# Criterion can't run under ThreadSanitizer: unit tests are left out of such builds.
LOG_COMPILER = $(top_srcdir)/tests/run-unit
AM_TESTS_ENVIRONMENT = \
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' CC='$(CC)'; \
	export top_srcdir top_builddir CC;
EXTRA_DIST += tests/run-unit

# --- Unit tests: a program a floor, linked with that floor and those below it.

tests_base_unit_SOURCES = \
	tests/base/test_bits.c \
	tests/base/test_check.c \
	tests/base/test_clock.c \
	tests/base/test_futex.c \
	tests/base/test_histogram.c \
	tests/base/test_list.c \
	tests/base/test_lock.c \
	tests/base/test_parse.c \
	tests/base/test_random.c
tests_base_unit_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_base_unit_LDADD = $(FLOOR0) $(CRITERION_LIBS)

tests_numa_unit_SOURCES = \
	tests/numa/backing_setup.h tests/numa/machine_setup.h tests/status.h \
	tests/numa/test_backing.c \
	tests/numa/test_backing_lazy.c \
	tests/numa/test_backing_pool.c \
	tests/numa/test_backing_refused.c \
	tests/numa/test_fake.c \
	tests/numa/test_image.c \
	tests/numa/test_machine.c \
	tests/numa/test_node_thread.c \
	tests/numa/test_os_cgroup.c tests/numa/test_os_linux.c \
	tests/numa/test_range.c
tests_numa_unit_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_numa_unit_LDADD = libpld_fake.la $(FLOOR1) $(CRITERION_LIBS)

if HAVE_CRITERION
if !TSAN
units = tests/base_unit tests/numa_unit
check_PROGRAMS += $(units)
TESTS += $(units)
endif
else
TESTS += tests/criterion_is_missing
endif
EXTRA_DIST += tests/criterion_is_missing

# --- The law of the house: who may include whom.
TESTS += tests/law/include_law
EXTRA_DIST += tests/law/include_law

# --- Guests with several nodes, in QEMU. Programs that run in them link the
# convenience libraries, so that they are programs and not libtool's wrappers.
check_PROGRAMS += tests/guest/place_numa
tests_guest_place_numa_SOURCES = tests/guest/place_numa.c tests/guest/place.h
tests_guest_place_numa_LDADD = $(FLOOR1)
check_PROGRAMS += tests/guest/place_heap
tests_guest_place_heap_SOURCES = tests/guest/place_heap.c tests/guest/place.h
tests_guest_place_heap_LDADD = $(FLOOR3)
check_PROGRAMS += tests/guest/place_moves
tests_guest_place_moves_SOURCES = tests/guest/place_moves.c tests/guest/place.h
tests_guest_place_moves_LDADD = $(FLOOR3)
check_PROGRAMS += tests/guest/place_reserve
tests_guest_place_reserve_SOURCES = tests/guest/place_reserve.c tests/guest/place.h
tests_guest_place_reserve_LDADD = $(FLOOR3)
check_PROGRAMS += tests/guest/place_migrate
tests_guest_place_migrate_SOURCES = tests/guest/place_migrate.c tests/guest/place.h
tests_guest_place_migrate_LDADD = $(FLOOR3)
check_PROGRAMS += tests/guest/place_matrix
tests_guest_place_matrix_SOURCES = tests/guest/place_matrix.c tests/guest/place.h
tests_guest_place_matrix_LDADD = $(FLOOR3)
check_PROGRAMS += tests/guest/place_weighted tests/guest/place_unplug
tests_guest_place_weighted_SOURCES = tests/guest/place_weighted.c tests/guest/place.h
tests_guest_place_weighted_LDADD = $(FLOOR3)
tests_guest_place_unplug_SOURCES = tests/guest/place_unplug.c tests/guest/place.h
tests_guest_place_unplug_LDADD = $(FLOOR3)
TESTS += tests/guest/run
EXTRA_DIST += tests/guest/inside tests/guest/numaguest tests/guest/run

# --- The protocol of the cycle, explored exhaustively, and its mutants.
check_PROGRAMS += tests/model/cycle_model
TESTS += tests/model/cycle_model
tests_model_cycle_model_SOURCES = \
	tests/model/cycle_model.c \
	tests/model/state.c tests/model/state.h tests/model/tie.c \
	tests/model/protocol.c tests/model/protocol.h tests/model/steps.h \
	tests/model/program.c tests/model/collector.c tests/model/judge.c \
	tests/model/explore.c tests/model/explore.h

include tests/arena/local.mk
include tests/collector/local.mk
include tests/kvd/local.mk
include tests/life/local.mk
include tests/lockfree/local.mk
include tests/preload/local.mk
include tests/silent/local.mk
include tests/stress/local.mk
include tests/uring_echo/local.mk

# What is quick enough for a build with a sanitizer.
.PHONY: print-quick-tests
print-quick-tests:
	@echo $(units) tests/stress/run
