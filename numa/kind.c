/* kind.c: what the kinds and reasons are called, in settings and reports. */
#include "numa/kind.h"

static const char *const names[PLD_BACKING_KINDS] = {
        [PLD_BACKING_NONE] = "none",
        [PLD_BACKING_1G] = "1G",
        [PLD_BACKING_2M] = "2M",
        [PLD_BACKING_THP] = "thp",
        [PLD_BACKING_BASE] = "base",
};

static const char *const reasons[PLD_REASONS] = {
        [PLD_REASON_UNSUPPORTED] = "unsupported",
        [PLD_REASON_POOL_EMPTY] = "pool-empty",
        [PLD_REASON_NODE_LOW] = "node-low",
        [PLD_REASON_CGROUP_LOW] = "cgroup-low",
        [PLD_REASON_NODE_FORBIDDEN] = "node-forbidden",
        [PLD_REASON_BIND_REFUSED] = "bind-refused",
        [PLD_REASON_BIND_FORBIDDEN] = "bind-forbidden",
        [PLD_REASON_UNVERIFIED] = "unverified",
        [PLD_REASON_MAP_REFUSED] = "map-refused",
        [PLD_REASON_POPULATE_FAILED] = "populate-failed",
        [PLD_REASON_MISPLACED] = "misplaced",
        [PLD_REASON_NOT_HUGE] = "not-huge",
        [PLD_REASON_NO_PLACE] = "no-place",
        [PLD_REASON_LOCK_REFUSED] = "lock-refused",
};

const char *pld_backing_name(enum pld_backing kind)
{
        return names[kind];
}

const char *pld_reason_name(enum pld_reason reason)
{
        return reasons[reason];
}
