# --- No system call and no page fault once the reserve is there.
check_PROGRAMS += tests/silent/silent
tests_silent_silent_SOURCES = tests/silent/silent.c
tests_silent_silent_LDADD = $(FLOOR3)
if !SANITIZED
TESTS += tests/silent/silent
endif
