/* resp.h: the RESP2 protocol: requests in, replies out. */
#ifndef KVD_RESP_H
#define KVD_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- Requests --------------------------------------------------------------------- */

/* Points into the bytes that were parsed. */
struct arg {
        const char *data;
        size_t len;
};

/* One request, as far as it has come. All zero to begin with. */
struct request {
        size_t at;       /* bytes parsed, from the request's first */
        size_t expected; /* arguments announced; 0: not known yet */
        size_t bulk_len; /* of the argument being read, if in_bulk */
        bool in_bulk;
        size_t argc, capacity;
        struct arg *args;
        const char *error; /* after RESP_BAD: what is wrong */
};

enum resp_state { RESP_READY, RESP_MORE, RESP_BAD };

/* Parses on. The bytes are the request's from its first, at any address, and never fewer
 * than the time before. READY: args point into them, and the request ends at `at`; argc
 * is 0 for an empty line. MORE: come again with more bytes. */
enum resp_state request_parse(struct request *request, const char *data, size_t nbytes);
/* Ready for the next one. */
void request_reset(struct request *request);
void request_destroy(struct request *request);

/* --- Replies ---------------------------------------------------------------------- */

/* A growing buffer of replies. Without memory to grow it stays as it is and `failed`
 * is set. */
struct reply {
        char *data;
        size_t nbytes, capacity;
        bool failed;
};

int reply_create(struct reply *reply); /* 0 or -ENOMEM */
void reply_destroy(struct reply *reply);
/* Empty; gives back what an unusually long reply took. */
void reply_reset(struct reply *reply);
/* Takes back what was added since nbytes was `mark`, and says that memory is short. */
void reply_fail(struct reply *reply, size_t mark);

void reply_simple(struct reply *reply, const char *text);
void reply_error(struct reply *reply, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void reply_integer(struct reply *reply, int64_t value);
void reply_bulk(struct reply *reply, const char *data, size_t len);
void reply_text(struct reply *reply, const char *text); /* as a bulk */
void reply_nil(struct reply *reply);
void reply_nil_array(struct reply *reply);
void reply_array(struct reply *reply, size_t count); /* count replies follow */

/* Digits of a number, not terminated; the buffer takes RESP_DIGITS. */
enum { RESP_DIGITS = 20 };
size_t resp_format_integer(char *to, int64_t value);
/* The whole of the bytes is a decimal number that fits. */
bool resp_parse_integer(const char *data, size_t len, int64_t *out);

#endif
