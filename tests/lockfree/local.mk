# The lock-free examples: are they linearizable, and does everything come out once?
check_PROGRAMS += tests/lockfree/check_linear tests/lockfree/keeps tests/lockfree/stress
TESTS += tests/lockfree/check_linear tests/lockfree/keeps tests/lockfree/run tests/lockfree/mutants
tests_lockfree_check_linear_SOURCES = tests/lockfree/check_linear.c \
	tests/lockfree/linear.c tests/lockfree/linear.h
tests_lockfree_keeps_SOURCES = $(LOCKFREE_SOURCES) tests/lockfree/chaos.h tests/lockfree/keeps.c
tests_lockfree_keeps_CPPFLAGS = $(tests_lockfree_stress_CPPFLAGS)
tests_lockfree_keeps_LDADD = $(FLOOR3)
tests_lockfree_stress_SOURCES = $(LOCKFREE_SOURCES) \
	tests/lockfree/chaos.h \
	tests/lockfree/linear.c tests/lockfree/linear.h \
	tests/lockfree/stress.c \
	tests/lockfree/subject.c tests/lockfree/subject.h
tests_lockfree_stress_CPPFLAGS = $(AM_CPPFLAGS) -include $(top_srcdir)/tests/lockfree/chaos.h
tests_lockfree_stress_LDADD = $(FLOOR3)
EXTRA_DIST += tests/lockfree/mutants tests/lockfree/run
