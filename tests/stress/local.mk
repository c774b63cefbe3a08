# --- The stress: threads, collections of both kinds, verification.
check_PROGRAMS += tests/stress/stress
tests_stress_stress_SOURCES = tests/stress/stress.c
tests_stress_stress_LDADD = $(FLOOR3)
TESTS += tests/stress/run
EXTRA_DIST += tests/stress/run

# For as long as one likes: make soak SOAK_SECONDS=3600
SOAK_SECONDS = 3600
.PHONY: soak
soak: tests/stress/stress
	STRESS_SECONDS=$(SOAK_SECONDS) top_builddir=. $(top_srcdir)/tests/stress/run

# The real code, broken on purpose.
EXTRA_DIST += tests/stress/mutants
.PHONY: mutants
mutants:
	$(top_srcdir)/tests/stress/mutants
