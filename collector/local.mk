noinst_LTLIBRARIES += libpld_collector.la
libpld_collector_la_SOURCES = \
	collector/barrier.c \
	collector/cycle.c collector/cycle.h \
	collector/ephemeron.c \
	collector/finalizer.c collector/finalizer.h \
	collector/generation.c collector/generation.h \
	collector/governor.c collector/governor.h \
	collector/grey.c collector/grey.h \
	collector/handshake.c collector/handshake.h \
	collector/histograms.c collector/histograms.h \
	collector/journal.c collector/journal.h \
	collector/last_resort.c collector/last_resort.h \
	collector/layout.c collector/layout.h \
	collector/mark.c collector/mark.h \
	collector/new.c \
	collector/node_stats.c \
	collector/pacer.c collector/pacer.h \
	collector/pressure.c collector/pressure.h \
	collector/reach.c collector/reach.h \
	collector/records.c collector/records.h collector/records_inside.h \
	collector/request.c collector/request.h \
	collector/roots.c collector/roots.h \
	collector/rules.c collector/rules.h \
	collector/safepoint.c collector/safepoint.h \
	collector/scan.c collector/scan.h \
	collector/settings.c collector/settings.h \
	collector/stack.c collector/stack.h \
	collector/start.c collector/start.h \
	collector/stats.c \
	collector/thread.c collector/thread.h \
	collector/tie.c collector/tie.h \
	collector/trace.c collector/trace.h \
	collector/verify.c collector/verify.h \
	collector/weak.c \
	collector/weak_table.c \
	collector/why.c collector/why.h collector/why_print.c \
	collector/worker.c collector/worker.h
