/* resp.c: the RESP2 protocol: requests in, replies out.
 *
 * A request may arrive in any number of pieces, and many requests in one piece. The
 * parser remembers how far it has come, so no byte is looked at twice but those of an
 * unfinished line, and it never trusts an announced length with memory: buffers grow
 * with the bytes that have really come. Arguments are offsets while the request is
 * incomplete (its bytes may move meanwhile) and pointers when it is ready; nothing is
 * copied.
 *
 * The limits and the wording of the errors are Redis'.
 *
 * R1  at <= nbytes; args[0 .. argc) lie before at.
 * R2  After RESP_BAD a request is not parsed on. */
#include "examples/kvd/resp.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        LINE_MAX_LEN = 64 << 10,
        ARGS_MAX = 1 << 20,
        ARGS_FIRST = 8,
        ARGS_KEPT = 64,
        BULK_MAX_LEN = 512 << 20,
        REPLY_FIRST = 64 << 10,
        REPLY_KEPT = 1 << 20,
        REPLY_SPARE = 128 /* always left for reply_fail() */
};

/* --- Numbers ---------------------------------------------------------------------- */

bool resp_parse_integer(const char *data, size_t len, int64_t *out)
{
        bool negative = len > 0 && data[0] == '-';
        size_t at = negative;
        uint64_t value = 0, limit = (uint64_t)INT64_MAX + negative;

        if (len == at || len > RESP_DIGITS)
                return false;
        if (data[at] == '0' && (len > 1))
                return false;
        for (; at < len; at++) {
                unsigned digit = (unsigned)(unsigned char)data[at] - '0';
                if (digit > 9 || value > (limit - digit) / 10)
                        return false;
                value = value * 10 + digit;
        }
        *out = negative ? (int64_t)(0 - value) : (int64_t)value;
        return true;
}

size_t resp_format_integer(char *to, int64_t value)
{
        char digits[RESP_DIGITS];
        size_t count = 0, len = 0;
        uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

        do
                digits[count++] = (char)('0' + left % 10);
        while (left /= 10);
        if (value < 0)
                to[len++] = '-';
        while (count)
                to[len++] = digits[--count];
        return len;
}

/* --- Requests --------------------------------------------------------------------- */

static enum resp_state bad(struct request *request, const char *error)
{
        request->error = error;
        return RESP_BAD;
}

static bool add_arg(struct request *request, size_t at, size_t len)
{
        if (request->argc == request->capacity) {
                size_t capacity = request->capacity ? request->capacity * 2 : ARGS_FIRST;
                struct arg *args = realloc(request->args, capacity * sizeof *args);
                if (args == NULL)
                        return false;
                request->args = args;
                request->capacity = capacity;
        }
        /* An offset until the request is ready. */
        request->args[request->argc++] = (struct arg){ (const char *)(uintptr_t)at, len };
        return true;
}

static enum resp_state ready(struct request *request, const char *data)
{
        for (size_t i = 0; i < request->argc; i++)
                request->args[i].data = data + (uintptr_t)request->args[i].data;
        return RESP_READY;
}

/* The line at `at`, without its end; RESP_MORE while the end has not come. */
static enum resp_state take_line(struct request *request, const char *data, size_t nbytes,
                                 struct arg *line)
{
        const char *start = data + request->at;
        size_t left = nbytes - request->at;
        const char *end = memchr(start, '\n', left < LINE_MAX_LEN ? left : LINE_MAX_LEN);
        if (end == NULL)
                return left < LINE_MAX_LEN ? RESP_MORE : RESP_BAD;
        request->at += (size_t)(end - start) + 1;
        *line = (struct arg){ start, (size_t)(end - start) };
        if (line->len && line->data[line->len - 1] == '\r')
                line->len--;
        return RESP_READY;
}

/* A number after its mark, within [least, most]. */
static bool line_number(struct arg line, int64_t least, int64_t most, int64_t *out)
{
        return resp_parse_integer(line.data + 1, line.len - 1, out) && *out >= least &&
               *out <= most;
}

/* As typed into telnet: words with blanks between. */
static enum resp_state parse_inline(struct request *request, const char *data, size_t nbytes)
{
        struct arg line;
        enum resp_state state = take_line(request, data, nbytes, &line);
        if (state == RESP_BAD)
                return bad(request, "too big inline request");
        if (state == RESP_MORE)
                return state;
        for (size_t at = 0, end; at < line.len; at = end) {
                for (end = at; end < line.len && line.data[end] != ' '; end++)
                        ;
                size_t offset = (size_t)(line.data - data) + at;
                if (end > at && !add_arg(request, offset, end - at))
                        return bad(request, "out of memory");
                end += end < line.len;
        }
        return ready(request, data);
}

static enum resp_state parse_count(struct request *request, const char *data, size_t nbytes)
{
        struct arg line;
        int64_t count;
        enum resp_state state = take_line(request, data, nbytes, &line);
        if (state == RESP_BAD)
                return bad(request, "too big mbulk count string");
        if (state == RESP_MORE)
                return state;
        if (!line_number(line, INT64_MIN, ARGS_MAX, &count))
                return bad(request, "invalid multibulk length");
        request->expected = count > 0 ? (size_t)count : 0;
        return RESP_READY;
}

static enum resp_state parse_bulk_len(struct request *request, const char *data, size_t nbytes)
{
        static _Thread_local char unexpected[] = "expected '$', got '?'";
        struct arg line;
        int64_t len;

        if (nbytes > request->at && data[request->at] != '$') {
                char got = data[request->at];
                unexpected[sizeof unexpected - 3] = got >= ' ' && got <= '~' ? got : '?';
                return bad(request, unexpected);
        }
        enum resp_state state = take_line(request, data, nbytes, &line);
        if (state == RESP_BAD)
                return bad(request, "too big bulk count string");
        if (state == RESP_MORE)
                return state;
        if (!line_number(line, 0, BULK_MAX_LEN, &len))
                return bad(request, "invalid bulk length");
        request->bulk_len = (size_t)len;
        request->in_bulk = true;
        return RESP_READY;
}

static enum resp_state parse_bulk(struct request *request, const char *data, size_t nbytes)
{
        size_t end = request->at + request->bulk_len;
        if (nbytes < end + 2)
                return RESP_MORE;
        if (data[end] != '\r' || data[end + 1] != '\n')
                return bad(request, "a bulk does not end in CRLF");
        if (!add_arg(request, request->at, request->bulk_len))
                return bad(request, "out of memory");
        request->at = end + 2;
        request->in_bulk = false;
        return RESP_READY;
}

enum resp_state request_parse(struct request *request, const char *data, size_t nbytes)
{
        enum resp_state state;
        if (request->expected == 0) {
                if (nbytes == 0)
                        return RESP_MORE;
                if (data[0] != '*')
                        return parse_inline(request, data, nbytes);
                state = parse_count(request, data, nbytes);
                if (state != RESP_READY || request->expected == 0)
                        return state;
        }
        while (request->argc < request->expected) {
                if (!request->in_bulk) {
                        state = parse_bulk_len(request, data, nbytes);
                        if (state != RESP_READY)
                                return state;
                }
                state = parse_bulk(request, data, nbytes);
                if (state != RESP_READY)
                        return state;
        }
        return ready(request, data);
}

void request_reset(struct request *request)
{
        if (request->capacity > ARGS_KEPT)
                request_destroy(request);
        *request = (struct request){ .args = request->args, .capacity = request->capacity };
}

void request_destroy(struct request *request)
{
        free(request->args);
        request->args = NULL;
        request->capacity = 0;
}

/* --- Replies ---------------------------------------------------------------------- */

int reply_create(struct reply *reply)
{
        *reply = (struct reply){ .data = malloc(REPLY_FIRST), .capacity = REPLY_FIRST };
        return reply->data ? 0 : -ENOMEM;
}

void reply_destroy(struct reply *reply)
{
        free(reply->data);
        reply->data = NULL;
}

void reply_reset(struct reply *reply)
{
        reply->nbytes = 0;
        reply->failed = false;
        if (reply->capacity <= REPLY_KEPT)
                return;
        char *data = realloc(reply->data, REPLY_FIRST);
        if (data) {
                reply->data = data;
                reply->capacity = REPLY_FIRST;
        }
}

static bool __attribute__((noinline)) reserve_slow(struct reply *reply, size_t nbytes)
{
        size_t capacity = reply->capacity;
        while (capacity < reply->nbytes + nbytes + REPLY_SPARE)
                capacity *= 2;
        char *data = realloc(reply->data, capacity);
        if (data == NULL) {
                reply->failed = true;
                return false;
        }
        reply->data = data;
        reply->capacity = capacity;
        return true;
}

/* Where the next nbytes go, or NULL. */
static inline char *reserve(struct reply *reply, size_t nbytes)
{
        if (__builtin_expect(reply->nbytes + nbytes + REPLY_SPARE > reply->capacity, 0)) {
                if (!reserve_slow(reply, nbytes))
                        return NULL;
        }
        return reply->data + reply->nbytes;
}

static void add(struct reply *reply, const char *data, size_t len)
{
        char *to = reserve(reply, len);
        if (to) {
                memcpy(to, data, len);
                reply->nbytes += len;
        }
}

static size_t put_header(char *to, char mark, int64_t number)
{
        to[0] = mark;
        size_t len = 1 + resp_format_integer(to + 1, number);
        memcpy(to + len, "\r\n", 2);
        return len + 2;
}

static void add_header(struct reply *reply, char mark, int64_t number)
{
        char header[RESP_DIGITS + 3];
        add(reply, header, put_header(header, mark, number));
}

void reply_fail(struct reply *reply, size_t mark)
{
        static const char error[] = "-OOM command not allowed: no memory for the reply\r\n";
        static_assert(sizeof error <= REPLY_SPARE, "fits into the spare");
        reply->nbytes = mark;
        reply->failed = false;
        memcpy(reply->data + reply->nbytes, error, sizeof error - 1);
        reply->nbytes += sizeof error - 1;
}

void reply_simple(struct reply *reply, const char *text)
{
        size_t len = strlen(text);
        char *to = reserve(reply, len + 3);
        if (to == NULL)
                return;
        to[0] = '+';
        memcpy(to + 1, text, len);
        memcpy(to + 1 + len, "\r\n", 2);
        reply->nbytes += len + 3;
}

void reply_error(struct reply *reply, const char *format, ...)
{
        char line[256];
        va_list args;
        va_start(args, format);
        int len = vsnprintf(line, sizeof line, format, args);
        va_end(args);
        if (len >= (int)sizeof line)
                len = sizeof line - 1;
        for (int i = 0; i < len; i++) {
                if (line[i] == '\r' || line[i] == '\n')
                        line[i] = ' ';
        }
        add(reply, "-", 1);
        add(reply, line, len > 0 ? (size_t)len : 0);
        add(reply, "\r\n", 2);
}

void reply_integer(struct reply *reply, int64_t value)
{
        add_header(reply, ':', value);
}

void reply_bulk(struct reply *reply, const char *data, size_t len)
{
        char *to = reserve(reply, len + RESP_DIGITS + 5);
        if (to == NULL)
                return;
        size_t header = put_header(to, '$', (int64_t)len);
        memcpy(to + header, data, len);
        memcpy(to + header + len, "\r\n", 2);
        reply->nbytes += header + len + 2;
}

void reply_text(struct reply *reply, const char *text)
{
        reply_bulk(reply, text, strlen(text));
}

void reply_nil(struct reply *reply)
{
        add(reply, "$-1\r\n", 5);
}

void reply_nil_array(struct reply *reply)
{
        add(reply, "*-1\r\n", 5);
}

void reply_array(struct reply *reply, size_t count)
{
        add_header(reply, '*', (int64_t)count);
}
