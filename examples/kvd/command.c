/* command.c: from a request to its reply.
 *
 * One table says of every command what it takes and which of its arguments are names;
 * nothing else in the program knows the commands by name. They are found by hash. */
#include "examples/kvd/command.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "examples/kvd/admin.h"
#include "examples/kvd/hashes.h"
#include "examples/kvd/keys.h"
#include "examples/kvd/lists.h"
#include "examples/kvd/store.h"
#include "examples/kvd/strings.h"
#include "examples/kvd/tally.h"

/* Which arguments are names, and must not be too long. */
enum names {
        NO_NAMES,
        FIRST, /* the first after the command */
        ALL,
        ODD, /* every other, beginning with the first: MSET */
        EVEN /* the first, and every other beginning with the second: HSET */
};

/* GROWS: refused when there is no room below --maxmemory. */
enum { GROWS = 1 };

enum { ANY = -1 };

struct command {
        const char *name;
        void (*run)(struct call *call);
        int least, most; /* arguments, the name itself included */
        enum names names;
        unsigned flags;
};

static void command_command(struct call *call);

static const struct command commands[] = {
        { "get", command_get, 2, 2, FIRST, 0 },
        { "set", command_set, 3, ANY, FIRST, GROWS },
        { "setnx", command_setnx, 3, 3, FIRST, GROWS },
        { "setex", command_setex, 4, 4, FIRST, GROWS },
        { "mget", command_mget, 2, ANY, ALL, 0 },
        { "mset", command_mset, 3, ANY, ODD, GROWS },
        { "strlen", command_strlen, 2, 2, FIRST, 0 },
        { "append", command_append, 3, 3, FIRST, GROWS },
        { "incr", command_incr, 2, 2, FIRST, GROWS },
        { "decr", command_decr, 2, 2, FIRST, GROWS },
        { "incrby", command_incrby, 3, 3, FIRST, GROWS },
        { "decrby", command_decrby, 3, 3, FIRST, GROWS },

        { "del", command_del, 2, ANY, ALL, 0 },
        { "unlink", command_del, 2, ANY, ALL, 0 },
        { "exists", command_exists, 2, ANY, ALL, 0 },
        { "expire", command_expire, 3, 3, FIRST, 0 },
        { "pexpire", command_pexpire, 3, 3, FIRST, 0 },
        { "ttl", command_ttl, 2, 2, FIRST, 0 },
        { "pttl", command_pttl, 2, 2, FIRST, 0 },
        { "persist", command_persist, 2, 2, FIRST, 0 },
        { "type", command_type, 2, 2, FIRST, 0 },
        { "dbsize", command_dbsize, 1, 1, NO_NAMES, 0 },
        { "flushall", command_flushall, 1, 2, NO_NAMES, 0 },
        { "flushdb", command_flushall, 1, 2, NO_NAMES, 0 },

        { "hset", command_hset, 4, ANY, EVEN, GROWS },
        { "hget", command_hget, 3, 3, ALL, 0 },
        { "hdel", command_hdel, 3, ANY, ALL, 0 },
        { "hgetall", command_hgetall, 2, 2, FIRST, 0 },
        { "hlen", command_hlen, 2, 2, FIRST, 0 },

        { "lpush", command_lpush, 3, ANY, FIRST, GROWS },
        { "rpush", command_rpush, 3, ANY, FIRST, GROWS },
        { "lpop", command_lpop, 2, 3, FIRST, 0 },
        { "rpop", command_rpop, 2, 3, FIRST, 0 },
        { "lrange", command_lrange, 4, 4, FIRST, 0 },
        { "llen", command_llen, 2, 2, FIRST, 0 },

        { "ping", command_ping, 1, 2, NO_NAMES, 0 },
        { "echo", command_echo, 2, 2, NO_NAMES, 0 },
        { "select", command_select, 2, 2, NO_NAMES, 0 },
        { "quit", command_quit, 1, ANY, NO_NAMES, 0 },
        { "hello", command_hello, 1, ANY, NO_NAMES, 0 },
        { "client", command_client, 2, ANY, NO_NAMES, 0 },
        { "command", command_command, 1, ANY, NO_NAMES, 0 },
        { "config", command_config, 2, ANY, NO_NAMES, 0 },
        { "info", command_info, 1, ANY, NO_NAMES, 0 },
        { "memory", command_memory, 2, ANY, NO_NAMES, 0 },
};

enum { COMMANDS = sizeof commands / sizeof *commands, INDEX = 256 };

static const struct command *by_hash[INDEX]; /* const after start */

static void command_command(struct call *call)
{
        if (call->argc > 1 && arg_is(call->args[1], "COUNT"))
                reply_integer(call->reply, COMMANDS);
        else
                reply_array(call->reply, 0); /* of the documentation there is none */
}

/* --- Finding ------------------------------------------------------------------------------ */

static size_t hash_word(const char *word, size_t len)
{
        size_t hash = len;
        for (size_t i = 0; i < len; i++)
                hash = hash * 31 + ((unsigned char)word[i] | 0x20); /* letters in lower case */
        return hash % INDEX;
}

void commands_start(void)
{
        for (size_t i = 0; i < COMMANDS; i++) {
                size_t at = hash_word(commands[i].name, strlen(commands[i].name));
                while (by_hash[at])
                        at = (at + 1) % INDEX;
                by_hash[at] = &commands[i];
        }
}

bool arg_is(struct arg arg, const char *word)
{
        return strlen(word) == arg.len && strncasecmp(arg.data, word, arg.len) == 0;
}

static const struct command *find(struct arg name)
{
        size_t at = hash_word(name.data, name.len);
        while (by_hash[at] && !arg_is(name, by_hash[at]->name))
                at = (at + 1) % INDEX;
        return by_hash[at];
}

/* --- Errors ------------------------------------------------------------------------------- */

void reply_wrong_type(struct reply *reply)
{
        reply_error(reply, "WRONGTYPE Operation against a key holding the wrong kind of value");
}

void reply_syntax_error(struct reply *reply)
{
        reply_error(reply, "ERR syntax error");
}

void reply_not_integer(struct reply *reply)
{
        reply_error(reply, "ERR value is not an integer or out of range");
}

void reply_heap_full(struct reply *reply)
{
        reply_error(reply, "OOM command not allowed: the heap is full");
}

bool call_integer(struct call *call, size_t at, int64_t *out)
{
        if (resp_parse_integer(call->args[at].data, call->args[at].len, out))
                return true;
        reply_not_integer(call->reply);
        return false;
}

static void reply_unknown(struct call *call)
{
        struct arg name = call->args[0];
        reply_error(call->reply, "ERR unknown command '%.*s'",
                    (int)(name.len < 128 ? name.len : 128), name.data);
}

/* --- Running ------------------------------------------------------------------------------ */

static bool has_arity(const struct command *command, size_t argc)
{
        return argc >= (size_t)command->least &&
               (command->most == ANY || argc <= (size_t)command->most);
}

static bool has_long_name(const struct command *command, const struct call *call)
{
        if (command->names == NO_NAMES)
                return false;
        if (call->args[1].len > NAME_MAX_LEN)
                return true;
        if (command->names == FIRST)
                return false;
        size_t first = command->names == ODD ? 1 : 2, step = command->names == ALL ? 1 : 2;
        for (size_t i = first; i < call->argc; i += step) {
                if (call->args[i].len > NAME_MAX_LEN)
                        return true;
        }
        return false;
}

void command_run(struct call *call)
{
        const struct command *command = find(call->args[0]);
        size_t mark = call->reply->nbytes;

        tally_add(TALLY_COMMANDS, 1);
        if (command == NULL)
                reply_unknown(call);
        else if (!has_arity(command, call->argc))
                reply_error(call->reply, "ERR wrong number of arguments for '%s' command",
                            command->name);
        else if (has_long_name(command, call))
                reply_error(call->reply, "ERR keys and fields are at most %d bytes long",
                            NAME_MAX_LEN);
        else if ((command->flags & GROWS) && !store_make_room())
                reply_error(call->reply, "OOM command not allowed when used memory > 'maxmemory'.");
        else
                command->run(call);
        if (call->reply->failed)
                reply_fail(call->reply, mark);
}
