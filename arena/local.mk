noinst_LTLIBRARIES += libpld_arena.la
libpld_arena_la_SOURCES = \
	arena/ahead.c arena/ahead.h \
	arena/arena.c arena/arena.h \
	arena/bin.c arena/bin.h \
	arena/blocks.c arena/blocks.h \
	arena/bump.c arena/bump.h \
	arena/cache.c arena/cache.h \
	arena/central.c arena/central.h \
	arena/decay.c arena/decay.h \
	arena/extent.c arena/extent.h \
	arena/form.c arena/form.h \
	arena/heap.c arena/heap.h arena/heap_inside.h \
	arena/huge.c arena/huge.h \
	arena/large.c arena/large.h \
	arena/malloc.c arena/malloc.h arena/malloc_paths.h \
	arena/magazine.c \
	arena/manual.c arena/manual.h \
	arena/meta.c arena/meta.h \
	arena/migrate.c \
	arena/moved.c \
	arena/promote.c \
	arena/node_stats.c arena/node_stats.h \
	arena/page_heap.c arena/page_heap.h \
	arena/page_heap_counts.c arena/page_heap_inside.h \
	arena/page_map.c arena/page_map.h \
	arena/pool.c arena/pool.h arena/pool_inside.h \
	arena/region.c arena/region.h \
	arena/report.c arena/report.h \
	arena/row.c \
	arena/settings.c arena/settings.h \
	arena/shard.c \
	arena/shed.c \
	arena/shed_spans.c arena/shed_spans.h \
	arena/shared.c arena/shared.h \
	arena/shelf.c arena/shelf.h \
	arena/size_class.c arena/size_class.h \
	arena/span.c arena/span.h \
	arena/stall.c arena/stall.h \
	arena/stash.c \
	arena/straddle.c \
	arena/sweep.c arena/sweep.h \
	arena/visit.c arena/visit.h
