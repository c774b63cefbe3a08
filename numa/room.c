/* room.c: whether there is memory for what is to be backed.
 *
 * It is asked before, because populating memory that is bound to a full node ends in the OOM
 * killer and not in an error; and so does passing the limit of a control group. `pending` is
 * what other threads have been granted and not yet populated. */
#include "numa/room.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "numa/books.h"
#include "numa/machine.h"
#include "numa/os.h"

/* A node keeps this much, within the bounds, for what others allocate meanwhile. */
#define MARGIN_SHARE 32
#define MARGIN_LEAST (16 * PLD_MIB)
#define MARGIN_MOST (512 * PLD_MIB)
#define CGROUP_MARGIN_MOST (64 * PLD_MIB)
#define LAZY_SHARE 16 /* of what a node has left is granted to lazy pieces unasked */

static _Atomic size_t pending[PLD_MAX_NODES];
static _Atomic size_t granted; /* to lazy pieces to come on the only node; a hint */

size_t pld_room_pend(unsigned node, size_t nbytes)
{
        return pld_add_relaxed(&pending[node], nbytes) + nbytes;
}

void pld_room_settle(unsigned node, size_t nbytes)
{
        pld_sub_relaxed(&pending[node], nbytes);
}

static size_t margin_of(size_t total)
{
        size_t margin = total / MARGIN_SHARE;
        return margin < MARGIN_LEAST ? MARGIN_LEAST : margin > MARGIN_MOST ? MARGIN_MOST : margin;
}

/* Where there is no other node to go to, swapping is better than a refusal. */
bool pld_room_on_node(unsigned node, size_t nbytes)
{
        struct pld_os_memory memory;
        int id = pld_machine.alone ? -1 : pld_machine.node[node].id;
        if (pld_os->memory(id, &memory) != 0)
                return true;
        size_t have = memory.available + (pld_machine.nnodes == 1 ? memory.swap : 0);
        return have >= nbytes + margin_of(memory.total);
}

static size_t pending_everywhere(void)
{
        size_t sum = 0;
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                sum += pld_load_relaxed(&pending[i]);
        return sum;
}

/* Beside all that is pending; *spare: what is left then. */
static bool cgroup_has_room(size_t nbytes, size_t *spare)
{
        struct pld_os_memory memory;
        *spare = SIZE_MAX;
        if (pld_os->cgroup_memory(&memory) != 0)
                return true;
        size_t margin = memory.total / MARGIN_SHARE;
        size_t need = nbytes + pending_everywhere();
        need += margin < CGROUP_MARGIN_MOST ? margin : CGROUP_MARGIN_MOST;
        size_t have = memory.available + memory.swap;
        *spare = have > need ? have - need : 0;
        return have >= need;
}

bool pld_room_in_cgroup(void)
{
        size_t spare;
        return cgroup_has_room(0, &spare);
}

bool pld_room_grant_try(unsigned node, size_t nbytes)
{
        size_t left = pld_load_relaxed(&granted);
        while (left >= nbytes)
                if (pld_cas_relaxed(&granted, &left, left - nbytes))
                        return true;
        struct pld_os_memory memory;
        size_t spare;
        if (!cgroup_has_room(nbytes, &spare))
                return false;
        int id = pld_machine.alone ? -1 : pld_machine.node[node].id;
        if (pld_os->memory(id, &memory) != 0)
                return pld_machine.nnodes == 1;
        size_t have = memory.available + (pld_machine.nnodes == 1 ? memory.swap : 0);
        size_t need = nbytes + margin_of(memory.total) + pld_load_relaxed(&pending[node]);
        if (pld_machine.nnodes > 1) /* to be asked each time */
                return have >= need + pld_books_lazy_bytes(node); /* B5 */
        if (have < need)
                return false;
        spare = spare < have - need ? spare : have - need;
        pld_store_relaxed(&granted, spare / LAZY_SHARE);
        return true;
}

/* A node without any memory has been unplugged: no bind will be tried to tell us. */
enum pld_reason pld_room_why_not(unsigned node)
{
        struct pld_os_memory memory;
        if (pld_os->memory(pld_machine.node[node].id, &memory) == 0 && memory.total > 0)
                return PLD_REASON_NODE_LOW;
        pld_machine_reread();
        return pld_machine_is_allowed(node) ? PLD_REASON_NODE_LOW : PLD_REASON_NODE_FORBIDDEN;
}
