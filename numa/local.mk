noinst_LTLIBRARIES += libpld_numa.la
libpld_numa_la_SOURCES = \
	numa/backing.c numa/backing.h \
	numa/books.c numa/books.h \
	numa/chain.c numa/chain.h \
	numa/image.c numa/image.h \
	numa/kind.c numa/kind.h \
	numa/machine.c numa/machine.h \
	numa/meta_map.c numa/meta_map.h \
	numa/mlock.c numa/mlock.h \
	numa/node_thread.c numa/node_thread.h \
	numa/os.h numa/os_text.h \
	numa/os_cgroup.c numa/os_cgroup.h numa/os_linux.c \
	numa/os_machine.c numa/os_machine.h \
	numa/range.c numa/range.h \
	numa/room.c numa/room.h

# The fake machine: for tests, never part of the library.
check_LTLIBRARIES = libpld_fake.la
libpld_fake_la_SOURCES = numa/fake.c numa/fake.h numa/fake_inside.h numa/fake_pages.c
