polderincludedir = $(includedir)/polder
polderinclude_HEADERS = \
	include/polder/arena.h \
	include/polder/collected.h \
	include/polder/ephemeron.h \
	include/polder/extent.h \
	include/polder/heap.h \
	include/polder/polder.h \
	include/polder/pool.h \
	include/polder/region.h \
	include/polder/start.h \
	include/polder/stats.h \
	include/polder/thread.h
