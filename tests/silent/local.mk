# --- No system call and no page fault once the reserve is there.
check_PROGRAMS += tests/silent/silent
tests_silent_silent_SOURCES = tests/silent/silent.c \
	tests/silent/calls.c tests/silent/calls.h \
	tests/silent/faults.c tests/silent/faults.h \
	tests/silent/threads.c tests/silent/threads.h
tests_silent_silent_LDADD = $(FLOOR3)
if !SANITIZED
TESTS += tests/silent/silent
endif
