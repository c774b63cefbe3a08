noinst_LTLIBRARIES += libpld_base.la
libpld_base_la_SOURCES = \
	base/atomic.h \
	base/bits.c base/bits.h \
	base/check.c base/check.h \
	base/clock.h \
	base/futex.h \
	base/histogram.c base/histogram.h \
	base/list.h \
	base/loaded.c base/loaded.h \
	base/lock.c base/lock.h \
	base/parse.c base/parse.h \
	base/prefetch.h \
	base/random.h \
	base/registers.h
