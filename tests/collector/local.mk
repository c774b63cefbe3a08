tests_collector_unit_SOURCES = \
	tests/collector/collector_test.h \
	tests/collector/test_fiber.h \
	tests/collector/test_thread.h \
	tests/collector/test_away.c \
	tests/collector/test_barrier.c \
	tests/collector/test_blocking.c \
	tests/collector/test_cycle.c \
	tests/collector/test_ephemeron.c \
	tests/collector/test_fiber.c \
	tests/collector/test_finalizer.c \
	tests/collector/test_births.c \
	tests/collector/test_generation.c \
	tests/collector/test_governor.c \
	tests/collector/test_grey.c \
	tests/collector/test_handshake.c \
	tests/collector/test_histograms.c \
	tests/collector/test_layout.c \
	tests/collector/test_mark.c \
	tests/collector/test_new.c \
	tests/collector/test_pacer.c \
	tests/collector/test_pin.c \
	tests/collector/test_records.c \
	tests/collector/test_roots.c \
	tests/collector/test_settings.c \
	tests/collector/test_signal.c \
	tests/collector/test_stack.c \
	tests/collector/test_start.c \
	tests/collector/test_stats.c \
	tests/collector/test_thread.c \
	tests/collector/test_verify.c \
	tests/collector/test_weak_table.c \
	tests/collector/test_why.c \
	tests/collector/test_worker.c
tests_collector_unit_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_collector_unit_LDADD = libpld_fake.la $(FLOOR3) $(CRITERION_LIBS) -lm

if HAVE_CRITERION
if !TSAN
units += tests/collector_unit
endif
endif

# The headers, as a C++11 program sees them.
check_PROGRAMS += tests/collector/cxx_program
TESTS += tests/collector/cxx_program
tests_collector_cxx_program_SOURCES = tests/collector/cxx_program.cc
tests_collector_cxx_program_CXXFLAGS = $(AM_CXXFLAGS) -std=c++11 -Wall -Wextra -Wshadow -Wconversion \
	-Werror
tests_collector_cxx_program_LDADD = $(FLOOR3)
