/* server.c: worker threads, each with a loop, a listening socket and its connections.
 *
 * The kernel spreads connections over the workers' sockets (SO_REUSEPORT); from then
 * on a connection belongs to one worker, and workers share nothing but the store.
 *
 * A worker reads into one buffer and encodes replies into another, both its own and
 * warm in its cache. A connection has memory of its own only for what did not fit the
 * moment: the bytes of a request that has not come whole, and replies that the socket
 * would not take. All the requests of one read are answered by one write.
 *
 * The turn of a worker (work()) is what the memory contract asks for: it waits with
 * poll() on the loop's descriptor, where it holds no object, and lets libuv run what is
 * ready. No pointer to an object outlives the command that found it.
 *
 * S1  A connection is changed by its worker's thread only.
 * S2  used > 0 means that input holds the beginning of an unfinished request.
 * S3  unsent is the sum of the replies queued in libuv; while it is over UNSENT_MAX the
 *     connection is not read, and its requests wait.
 * S4  A connection that is LEAVING answers nothing more: what comes is discarded until
 *     the client closes or LINGER_MS have passed. Closing at once would reset the
 *     connection and could take the last reply from the client. */
#include "examples/kvd/server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "examples/kvd/command.h"
#include "examples/kvd/memory.h"
#include "examples/kvd/settings.h"
#include "examples/kvd/store.h"
#include "examples/kvd/tally.h"

enum {
        BACKLOG = 511,
        INPUT_SIZE = 64 << 10,
        REQUEST_MAX = 1 << 30,
        FLUSH_AT = 256 << 10, /* replies are sent on when they have grown to this */
        UNSENT_MAX = 64 << 20,
        TICK_MS = 100,
        LINGER_MS = 1000
};

enum connection_state { OPEN, LEAVING };

struct connection {
        uv_tcp_t tcp; /* its data names the connection */
        struct worker *worker;
        struct connection *next, **link; /* in worker->open or worker->leaving */
        enum connection_state state;
        uint64_t id;
        int64_t leave_by_ms;
        struct request request;
        char *input; /* S2 */
        size_t used, capacity;
        size_t unsent; /* S3 */
};

struct worker {
        uv_loop_t loop;
        uv_tcp_t listener;
        uv_async_t stop;
        uv_timer_t tick;
        unsigned index;
        pthread_t thread;
        bool accept_again; /* a connection waits for memory */
        struct connection *open, *leaving;
        struct reply reply;
        char input[INPUT_SIZE];
};

/* Replies on their way. */
struct unsent {
        uv_write_t write;
        size_t nbytes;
        char data[];
};

static struct worker *workers; /* settings.threads of them; const after start */
static _Atomic unsigned clients;
static _Atomic uint64_t last_id;

/* --- Opening and closing ------------------------------------------------------------------ */

static uv_stream_t *stream(struct connection *connection)
{
        return (uv_stream_t *)&connection->tcp;
}

static bool is_closing(const struct connection *connection)
{
        return uv_is_closing((const uv_handle_t *)&connection->tcp);
}

static void connection_link(struct connection *connection, struct connection **list)
{
        connection->next = *list;
        connection->link = list;
        if (*list)
                (*list)->link = &connection->next;
        *list = connection;
}

static void connection_unlink(struct connection *connection)
{
        *connection->link = connection->next;
        if (connection->next)
                connection->next->link = connection->link;
}

static void input_free(struct connection *connection)
{
        free(connection->input);
        connection->input = NULL;
        connection->used = connection->capacity = 0;
}

static void on_closed(uv_handle_t *handle)
{
        struct connection *connection = handle->data;
        request_destroy(&connection->request);
        input_free(connection);
        free(connection);
}

static void count_out(struct connection *connection)
{
        if (connection->state == OPEN) {
                atomic_fetch_sub_explicit(&clients, 1, memory_order_relaxed);
                tally_add(TALLY_CLOSED, 1);
        }
}

static void connection_close(struct connection *connection)
{
        if (is_closing(connection))
                return;
        count_out(connection);
        connection_unlink(connection);
        uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
        (void)status;
        free(request);
}

/* After the last reply; libuv sends what is queued first. */
static void connection_leave(struct connection *connection)
{
        uv_shutdown_t *request = malloc(sizeof *request);
        if (is_closing(connection) || connection->state == LEAVING || request == NULL ||
            uv_shutdown(request, stream(connection), on_shutdown) != 0) {
                free(request);
                connection_close(connection);
                return;
        }
        count_out(connection);
        connection->state = LEAVING;
        connection->leave_by_ms = store_now_ms() + LINGER_MS;
        connection_unlink(connection);
        connection_link(connection, &connection->worker->leaving);
}

/* --- Sending -------------------------------------------------------------------------------- */

static void connection_resume(struct connection *connection);

static void on_written(uv_write_t *write, int status)
{
        struct unsent *unsent = (struct unsent *)write;
        struct connection *connection = write->handle->data;
        bool was_held = connection->unsent > UNSENT_MAX;

        connection->unsent -= unsent->nbytes;
        free(unsent);
        if (status < 0)
                connection_close(connection);
        else if (was_held && connection->unsent <= UNSENT_MAX && connection->state == OPEN)
                connection_resume(connection); /* S3 */
}

static bool queue(struct connection *connection, const char *data, size_t nbytes)
{
        struct unsent *unsent = malloc(sizeof *unsent + nbytes);
        if (unsent == NULL)
                return false;
        memcpy(unsent->data, data, nbytes);
        unsent->nbytes = nbytes;
        connection->unsent += nbytes;
        uv_buf_t buf = uv_buf_init(unsent->data, (unsigned)nbytes);
        if (uv_write(&unsent->write, stream(connection), &buf, 1, on_written) == 0)
                return true;
        connection->unsent -= nbytes;
        free(unsent);
        return false;
}

/* Sends the worker's replies; false if that has closed the connection. */
static bool send_replies(struct connection *connection)
{
        struct reply *reply = &connection->worker->reply;
        size_t sent = 0;
        bool lost = false;

        if (reply->nbytes && connection->unsent == 0) {
                uv_buf_t buf = uv_buf_init(reply->data, (unsigned)reply->nbytes);
                int result = uv_try_write(stream(connection), &buf, 1);
                if (result > 0)
                        sent = (size_t)result;
                lost = result < 0 && result != UV_EAGAIN;
        }
        if (!lost && sent < reply->nbytes)
                lost = !queue(connection, reply->data + sent, reply->nbytes - sent);
        reply_reset(reply);
        if (lost)
                connection_close(connection);
        return !lost;
}

/* --- Answering ------------------------------------------------------------------------------ */

/* Runs the request; false when it was the connection's last. */
static bool run(struct connection *connection)
{
        struct request *request = &connection->request;
        struct call call = {
                .args = request->args,
                .argc = request->argc,
                .reply = &connection->worker->reply,
                .client = connection->id,
        };
        if (call.argc)
                command_run(&call);
        return !call.quit;
}

/* Answers all requests that are there whole, and returns how many bytes they took. */
static size_t answer(struct connection *connection, const char *data, size_t nbytes)
{
        struct reply *reply = &connection->worker->reply;
        struct request *request = &connection->request;
        enum resp_state state = RESP_READY;
        size_t done = 0;
        bool last = false;

        while (!last && connection->unsent <= UNSENT_MAX) {
                state = request_parse(request, data + done, nbytes - done);
                if (state != RESP_READY)
                        break;
                last = !run(connection);
                done += request->at;
                request_reset(request);
                if (reply->nbytes >= FLUSH_AT && !send_replies(connection))
                        return nbytes;
        }
        if (state == RESP_BAD)
                reply_error(reply, "ERR Protocol error: %s", request->error);
        if (!send_replies(connection))
                return nbytes;
        if (last || state == RESP_BAD) {
                connection_leave(connection);
                return nbytes;
        }
        return done;
}

static bool input_reserve(struct connection *connection, size_t nbytes)
{
        size_t capacity = connection->capacity ? connection->capacity : INPUT_SIZE;
        while (capacity < nbytes)
                capacity *= 2;
        if (capacity == connection->capacity)
                return true;
        char *input = nbytes <= REQUEST_MAX ? realloc(connection->input, capacity) : NULL;
        if (input == NULL)
                return false;
        connection->input = input;
        connection->capacity = capacity;
        return true;
}

/* Keeps what is left of the bytes until more come (S2). */
static bool keep(struct connection *connection, const char *data, size_t nbytes)
{
        if (nbytes == 0) {
                input_free(connection);
                return true;
        }
        if (connection->used == 0 && !input_reserve(connection, nbytes))
                return false;
        memmove(connection->input, data, nbytes);
        connection->used = nbytes;
        return true;
}

static void reply_no_memory(struct connection *connection)
{
        reply_error(&connection->worker->reply, "ERR no memory for so long a request");
        if (send_replies(connection))
                connection_leave(connection);
}

static void connection_take(struct connection *connection, const char *data, size_t nbytes)
{
        size_t done = answer(connection, data, nbytes);
        if (is_closing(connection) || connection->state == LEAVING)
                return;
        if (!keep(connection, data + done, nbytes - done))
                reply_no_memory(connection);
        else if (connection->unsent > UNSENT_MAX)
                uv_read_stop(stream(connection)); /* S3 */
}

static void on_read_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
        struct connection *connection = handle->data;
        (void)suggested;
        if (connection->used == 0 || connection->state == LEAVING)
                *buf = uv_buf_init(connection->worker->input, INPUT_SIZE);
        else if (input_reserve(connection, connection->used + INPUT_SIZE))
                *buf = uv_buf_init(connection->input + connection->used,
                                   (unsigned)(connection->capacity - connection->used));
        else
                *buf = uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *from, ssize_t nread, const uv_buf_t *buf)
{
        struct connection *connection = from->data;
        (void)buf;
        if (nread == UV_ENOBUFS && connection->state == OPEN) {
                input_free(connection);
                reply_no_memory(connection);
        } else if (nread < 0) {
                connection_close(connection);
        } else if (connection->state == LEAVING) {
                return; /* S4 */
        } else if (connection->used) {
                connection->used += (size_t)nread;
                connection_take(connection, connection->input, connection->used);
        } else {
                connection_take(connection, connection->worker->input, (size_t)nread);
        }
}

static void connection_resume(struct connection *connection)
{
        connection_take(connection, connection->input, connection->used);
        if (!is_closing(connection) && connection->unsent <= UNSENT_MAX)
                uv_read_start(stream(connection), on_read_room, on_read);
}

/* --- Accepting ------------------------------------------------------------------------------ */

static void connection_open(struct worker *worker, struct connection *connection)
{
        connection->state = OPEN;
        connection->id = 1 + atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed);
        connection_link(connection, &worker->open);
        tally_add(TALLY_CONNECTIONS, 1);

        unsigned before = atomic_fetch_add_explicit(&clients, 1, memory_order_relaxed);
        uv_tcp_nodelay(&connection->tcp, 1);
        if (uv_read_start(stream(connection), on_read_room, on_read) != 0) {
                connection_close(connection);
        } else if (before >= settings.max_clients) {
                tally_add(TALLY_REJECTED, 1);
                reply_error(&worker->reply, "ERR max number of clients reached");
                if (send_replies(connection))
                        connection_leave(connection);
        }
}

static void accept_one(struct worker *worker)
{
        struct connection *connection = calloc(1, sizeof *connection);
        worker->accept_again = connection == NULL;
        if (connection == NULL)
                return;
        connection->worker = worker;
        uv_tcp_init(&worker->loop, &connection->tcp);
        connection->tcp.data = connection;
        if (uv_accept((uv_stream_t *)&worker->listener, stream(connection)) == 0)
                connection_open(worker, connection);
        else
                uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void on_connection(uv_stream_t *listener, int status)
{
        if (status == 0)
                accept_one(listener->data);
}

/* --- Workers -------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *tick)
{
        struct worker *worker = tick->data;
        struct connection *connection = worker->leaving;
        while (connection) {
                struct connection *next = connection->next;
                if (connection->leave_by_ms <= store_now_ms())
                        connection_close(connection);
                connection = next;
        }
        if (worker->accept_again)
                accept_one(worker);
        store_expire_some(worker->index, settings.threads);
}

static void on_stop(uv_async_t *stop)
{
        struct worker *worker = stop->data;
        uv_close((uv_handle_t *)&worker->listener, NULL);
        uv_close((uv_handle_t *)&worker->tick, NULL);
        uv_close((uv_handle_t *)&worker->stop, NULL);
        while (worker->open)
                connection_close(worker->open);
        while (worker->leaving)
                connection_close(worker->leaving);
}

static void wait_for_events(struct worker *worker)
{
        struct pollfd loop = { .fd = uv_backend_fd(&worker->loop), .events = POLLIN };
        memory_wait_begin();
        poll(&loop, 1, uv_backend_timeout(&worker->loop));
        memory_wait_end();
}

static void *work(void *arg)
{
        struct worker *worker = arg;
        tally_begin(worker->index);
        if (memory_thread_begin() != 0) {
                fprintf(stderr, "kvd: no memory for worker %u\n", worker->index);
                return NULL;
        }
        while (uv_loop_alive(&worker->loop)) {
                wait_for_events(worker);
                store_turn();
                uv_run(&worker->loop, UV_RUN_NOWAIT);
                memory_turn();
        }
        memory_thread_end();
        return NULL;
}

/* --- Start and stop ------------------------------------------------------------------------- */

static int address_parse(struct sockaddr_storage *address)
{
        int err = uv_ip4_addr(settings.address, settings.port, (struct sockaddr_in *)address);
        if (err)
                err = uv_ip6_addr(settings.address, settings.port, (struct sockaddr_in6 *)address);
        return err;
}

/* With SO_REUSEPORT on it, a port that another server of ours listens on would be shared
 * silently; a first socket without it finds that out. */
static int listener_open(struct worker *worker, const struct sockaddr *address, bool shared)
{
        int on = 1, fd;
        int err = uv_tcp_init_ex(&worker->loop, &worker->listener, address->sa_family);
        worker->listener.data = worker;
        if (err == 0)
                err = uv_fileno((uv_handle_t *)&worker->listener, &fd);
        if (err == 0 && shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
                err = -errno;
        if (err == 0)
                err = uv_tcp_bind(&worker->listener, address, 0);
        if (err == 0)
                err = uv_listen((uv_stream_t *)&worker->listener, BACKLOG, on_connection);
        return err;
}

static void listener_close(struct worker *worker)
{
        uv_close((uv_handle_t *)&worker->listener, NULL);
        uv_run(&worker->loop, UV_RUN_NOWAIT);
}

static int port_learn(struct worker *worker)
{
        struct sockaddr_storage address;
        int nbytes = sizeof address;
        int err = uv_tcp_getsockname(&worker->listener, (struct sockaddr *)&address, &nbytes);
        if (err)
                return err;
        settings.port = address.ss_family == AF_INET
                            ? ntohs(((struct sockaddr_in *)&address)->sin_port)
                            : ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
        return 0;
}

static int worker_create(struct worker *worker, unsigned index)
{
        worker->index = index;
        int err = reply_create(&worker->reply);
        if (err == 0)
                err = uv_loop_init(&worker->loop);
        if (err == 0)
                err = uv_async_init(&worker->loop, &worker->stop, on_stop);
        if (err == 0)
                err = uv_timer_init(&worker->loop, &worker->tick);
        if (err == 0)
                err = uv_timer_start(&worker->tick, on_tick, TICK_MS, TICK_MS);
        worker->stop.data = worker->tick.data = worker;
        return err;
}

static int workers_listen(void)
{
        struct sockaddr_storage address = { 0 };
        int err = address_parse(&address);
        if (err)
                return err;
        err = listener_open(&workers[0], (struct sockaddr *)&address, false);
        if (err == 0)
                err = port_learn(&workers[0]);
        if (err)
                return err;
        listener_close(&workers[0]);
        address_parse(&address); /* the port may be known only now */
        for (unsigned i = 0; i < settings.threads && err == 0; i++)
                err = listener_open(&workers[i], (struct sockaddr *)&address, true);
        return err;
}

int server_start(void)
{
        workers = calloc(settings.threads, sizeof *workers);
        int err = workers ? 0 : -ENOMEM;
        for (unsigned i = 0; i < settings.threads && err == 0; i++)
                err = worker_create(&workers[i], i);
        if (err == 0)
                err = workers_listen();
        for (unsigned i = 0; i < settings.threads && err == 0; i++)
                err = -pthread_create(&workers[i].thread, NULL, work, &workers[i]);
        if (err)
                fprintf(stderr, "kvd: cannot listen on %s port %d: %s\n", settings.address,
                        settings.port, uv_strerror(err));
        return err;
}

void server_stop(void)
{
        for (unsigned i = 0; i < settings.threads; i++)
                uv_async_send(&workers[i].stop);
        for (unsigned i = 0; i < settings.threads; i++) {
                pthread_join(workers[i].thread, NULL);
                uv_loop_close(&workers[i].loop);
                reply_destroy(&workers[i].reply);
        }
        free(workers);
}
