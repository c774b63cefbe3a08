/* command.h: from a request to its reply. */
#ifndef KVD_COMMAND_H
#define KVD_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "examples/kvd/map.h"
#include "examples/kvd/resp.h"

/* A request being answered. Every command adds one reply. */
struct call {
        const struct arg *args; /* args[0] is the command's name */
        size_t argc;            /* at least 1; within the command's arity when it is run */
        struct reply *reply;
        uint64_t client; /* a number of its own */
        bool quit;       /* set by the command: close after the reply */
};

/* Once, before the first call. */
void commands_start(void);
void command_run(struct call *call);

/* --- For the commands --------------------------------------------------------------- */

/* Keys and fields are at most this long; a longer one gets an error before its command
 * is run. */
enum { NAME_MAX_LEN = 64 << 10 };

static inline struct name call_name(const struct call *call, size_t at)
{
        return map_name(call->args[at].data, call->args[at].len);
}

bool arg_is(struct arg arg, const char *word); /* in any case */

/* The argument as a number; false when it is none, and the error has been replied. */
bool call_integer(struct call *call, size_t at, int64_t *out);

/* The errors that several commands give. */
void reply_wrong_type(struct reply *reply);
void reply_syntax_error(struct reply *reply);
void reply_not_integer(struct reply *reply);
void reply_heap_full(struct reply *reply);

#endif
