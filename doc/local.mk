dist_man_MANS = \
	doc/polder.7 \
	doc/polder_collect.3 \
	doc/polder_ephemeron.3 \
	doc/polder_extents.3 \
	doc/polder_heap.3 \
	doc/polder_histogram.3 \
	doc/polder_malloc.3 \
	doc/polder_new.3 \
	doc/polder_pool.3 \
	doc/polder_region.3 \
	doc/polder_stats.3 \
	doc/polder_store.3 \
	doc/polder_thread.3 \
	doc/polder_weak.3 \
	doc/polder_why.3
EXTRA_DIST += doc/design.md doc/lockfree.md doc/tour.md
