# --- The stress: threads, collections of both kinds, verification.
check_PROGRAMS += tests/stress/stress
tests_stress_stress_SOURCES = tests/stress/stress.c tests/stress/ties.c tests/stress/ties.h
tests_stress_stress_LDADD = $(FLOOR3)
TESTS += tests/stress/run
EXTRA_DIST += tests/stress/run

# For as long as one likes: make soak SOAK_SECONDS=7200
SOAK_SECONDS = 3600
EXTRA_DIST += tests/stress/soak
.PHONY: soak
soak: tests/stress/stress tests/model/cycle_model
	top_builddir=. $(top_srcdir)/tests/stress/soak $(SOAK_SECONDS)

# The real code, broken on purpose.
EXTRA_DIST += tests/stress/mutants
.PHONY: mutants
mutants:
	top_builddir=. $(top_srcdir)/tests/stress/mutants
