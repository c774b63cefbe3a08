#include "collector/safepoint.h"
#include "collector/thread.h"
#include "collector/tie.h"


#include <errno.h>
#include <polder/ephemeron.h>

struct polder_ephemeron *polder_ephemeron_new(void *key, void *value)
{
        struct pld_thread *self = pld_thread_attach();
        struct pld_found found = pld_find_object((uintptr_t)key);
        if (!self || !found.span) {
                errno = self ? EINVAL : ENOMEM;
                return NULL;
        }
        void *object = pld_owner_new();
        if (!object)
                return NULL;
        uintptr_t word = (uintptr_t)value;
        pld_enter();
        int error = pld_tie_change(self, pld_owner_of(object), found, PLD_TIE_SET, &word);
        pld_leave();
        polder_keep_alive(key);
        polder_keep_alive(value);
        if (!error)
                return object;
        errno = ENOMEM;
        return NULL;
}

void *polder_ephemeron_get(const struct polder_ephemeron *ephemeron, const void *key)
{
        struct pld_thread *self = pld_thread_attach();
        struct pld_owner *owner = pld_owner_of(ephemeron);
        if (!self || !owner)
                return NULL;
        pld_enter();
        struct pld_found found = pld_find_object((uintptr_t)key);
        uintptr_t value = found.span ? pld_tie_read_only_one(self, owner, found) : 0;
        pld_leave();
        polder_keep_alive(ephemeron);
        polder_keep_alive(key);
        return (void *)value;
}
