/* arena.h: starting the arena, once. */
#ifndef PLD_ARENA_ARENA_H
#define PLD_ARENA_ARENA_H

#include "arena/settings.h"

/* settings NULL: the environment's. 0; -EALREADY when it runs already;
 * -EINVAL for a setting that cannot be; -ENOMEM; -EAGAIN for the thread that is
 * starting it, from inside the start. Thread-safe. */
int pld_arena_start(const struct pld_arena_settings *settings);
bool pld_arena_is_started(void);
/* Waits until the reserve is populated; 0, or -ENOMEM when it fell short. */
int pld_arena_prefault_wait(void);

#endif
