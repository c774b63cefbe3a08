# Programs that know nothing of Polder, under the preload library. No library of
# Polder's is linked with them, nor what configure found for those.
preload_programs = \
	tests/preload/asleep \
	tests/preload/ends \
	tests/preload/forks \
	tests/preload/peak \
	tests/preload/quiet \
	tests/preload/replaced \
	tests/preload/shrink \
	tests/preload/surface \
	tests/preload/surface_cxx
if !SANITIZED
check_PROGRAMS += $(preload_programs)
check_LTLIBRARIES += tests/preload/module.la
TESTS += tests/preload/test_preload tests/preload/test_programs
endif
preload_cflags = $(AM_CFLAGS) -fno-builtin
preload_cxxflags = $(AM_CXXFLAGS) -std=c++17 -Wall -Wextra -fno-builtin -faligned-new
preload_ldflags = $(AM_LDFLAGS) -Wl,--as-needed
tests_preload_asleep_SOURCES = tests/preload/asleep.c tests/preload/check.h
tests_preload_asleep_CFLAGS = $(preload_cflags)
tests_preload_asleep_LDFLAGS = $(preload_ldflags)
tests_preload_ends_SOURCES = tests/preload/ends.cc tests/preload/check.h
tests_preload_ends_CXXFLAGS = $(preload_cxxflags)
tests_preload_ends_LDFLAGS = $(preload_ldflags)
tests_preload_forks_SOURCES = tests/preload/forks.c tests/preload/check.h
tests_preload_forks_CFLAGS = $(preload_cflags)
tests_preload_forks_LDFLAGS = $(preload_ldflags)
tests_preload_peak_SOURCES = tests/preload/peak.c
tests_preload_peak_LDFLAGS = $(preload_ldflags)
tests_preload_quiet_SOURCES = tests/preload/quiet.c tests/preload/check.h
tests_preload_quiet_CFLAGS = $(preload_cflags)
tests_preload_quiet_LDFLAGS = $(preload_ldflags)
tests_preload_replaced_SOURCES = tests/preload/replaced.cc tests/preload/check.h
tests_preload_replaced_CXXFLAGS = $(preload_cxxflags) -Wno-sized-deallocation
tests_preload_replaced_LDFLAGS = $(preload_ldflags)
tests_preload_shrink_SOURCES = tests/preload/shrink.c tests/preload/check.h
tests_preload_shrink_CFLAGS = $(preload_cflags)
tests_preload_shrink_LDFLAGS = $(preload_ldflags)
tests_preload_surface_SOURCES = tests/preload/surface.c tests/preload/check.h
tests_preload_surface_CFLAGS = $(preload_cflags)
tests_preload_surface_LDFLAGS = $(preload_ldflags)
tests_preload_surface_cxx_SOURCES = tests/preload/surface_cxx.cc tests/preload/check.h
tests_preload_surface_cxx_CXXFLAGS = $(preload_cxxflags)
tests_preload_surface_cxx_LDFLAGS = $(preload_ldflags)
tests_preload_module_la_SOURCES = tests/preload/module.cc
tests_preload_module_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
EXTRA_DIST += tests/preload/test_preload tests/preload/test_programs
