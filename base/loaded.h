/* loaded.h: what the dynamic linker has loaded, and not unloaded. */
#ifndef PLD_BASE_LOADED_H
#define PLD_BASE_LOADED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All of it lies in the program's image or in one library's. Takes no lock, makes no system
 * call, and may be asked while threads are held anywhere. Always false where the C library
 * can't tell so (glibc before 2.35). */
bool pld_is_loaded(uintptr_t at, size_t nbytes);

#endif
