# --- The lives of threads and processes: cancelled, ended, forked, unloaded. Each case
# runs in a process of its own.
life_programs = tests/life/cancel tests/life/ends tests/life/forks
check_PROGRAMS += $(life_programs)
TESTS += $(life_programs)
tests_life_cancel_SOURCES = tests/life/cancel.c tests/life/life.h
tests_life_cancel_LDADD = $(FLOOR3)
tests_life_ends_SOURCES = tests/life/ends.c tests/life/life.h
tests_life_ends_LDADD = $(FLOOR3)
tests_life_forks_SOURCES = tests/life/forks.c tests/life/life.h
tests_life_forks_LDADD = $(FLOOR3)

# With the shared library, and a library that uses it.
if !SANITIZED
check_LTLIBRARIES += tests/life/plugin_module.la
life_loaders = tests/life/loads tests/life/plugin
check_PROGRAMS += $(life_loaders)
TESTS += $(life_loaders)
endif
tests_life_plugin_module_la_SOURCES = tests/life/plugin_module.c tests/life/plugin.h
tests_life_plugin_module_la_LIBADD = libpolder.la
tests_life_plugin_module_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
tests_life_plugin_SOURCES = tests/life/plugin.c tests/life/plugin.h tests/life/life.h
tests_life_plugin_LDADD = libpolder.la
tests_life_loads_SOURCES = tests/life/loads.c
tests_life_loads_LDFLAGS = $(AM_LDFLAGS) -Wl,--as-needed
