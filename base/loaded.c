#include "base/loaded.h"

#include <dlfcn.h>

#ifdef DLFO_STRUCT_HAS_EH_COUNT /* _dl_find_object() is there, too */
bool pld_is_loaded(uintptr_t at, size_t nbytes)
{
        struct dl_find_object object;
        return _dl_find_object((void *)at, &object) == 0 &&
               nbytes <= (uintptr_t)object.dlfo_map_end - at;
}
#else
bool pld_is_loaded(uintptr_t at, size_t nbytes)
{
        (void)at;
        (void)nbytes;
        return false;
}
#endif
