# --- The lives of threads and processes: cancelled, ended, forked, unloaded. Each case
# runs in a process of its own.
life_programs = tests/life/cancel
check_PROGRAMS += $(life_programs)
TESTS += $(life_programs)
tests_life_cancel_SOURCES = tests/life/cancel.c tests/life/life.h
tests_life_cancel_LDADD = $(FLOOR3)

