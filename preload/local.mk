# malloc for programs that were not built for Polder. A sanitizer brings a malloc
# of its own.
if !SANITIZED
lib_LTLIBRARIES += libpolder-malloc.la
endif
libpolder_malloc_la_SOURCES = \
	preload/operator_new.c preload/operator_new.h \
	preload/operators.c \
	preload/preload.c
libpolder_malloc_la_CFLAGS = $(AM_CFLAGS) -fno-builtin -fexceptions
libpolder_malloc_la_LIBADD = libpld_arena.la libpld_numa.la libpld_base.la
libpolder_malloc_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -no-undefined \
	-Wl,-z,nodelete -Wl,-z,now -Wl,-z,initfirst \
	-Wl,--version-script=$(top_srcdir)/preload/preload.map
libpolder_malloc_la_DEPENDENCIES = preload/preload.map $(libpolder_malloc_la_LIBADD)
EXTRA_DIST += preload/preload.map
