# --- No system call and no page fault once the reserve is there.
check_PROGRAMS += tests/silent/silent
tests_silent_silent_SOURCES = tests/silent/silent.c \
	tests/silent/calls.c tests/silent/calls.h \
	tests/silent/faults.c tests/silent/faults.h \
	tests/silent/threads.c tests/silent/threads.h
tests_silent_silent_LDADD = $(FLOOR3)

# Kernel-bypass mode: no call and no fault at all, in malloc and free alone.
check_PROGRAMS += tests/silent/bypass
tests_silent_bypass_SOURCES = tests/silent/bypass.c \
	tests/silent/faults.c tests/silent/faults.h \
	tests/silent/threads.c tests/silent/threads.h
tests_silent_bypass_LDADD = $(FLOOR3)

if !SANITIZED
TESTS += tests/silent/silent tests/silent/bypass
endif
