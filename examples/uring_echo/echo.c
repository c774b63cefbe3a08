/* echo.c: one ring, one thread, and for each connection a buffer and one operation.
 *
 * A connection reads into its buffer, writes back what it has read until all of it is
 * out, and reads again. Both go by READ_FIXED and WRITE_FIXED: the buffer is Polder's
 * memory, which the kernel has pinned (buffers.h).
 *
 * E1  a connection has one operation under way, whose data is the connection. The
 *     listener and the signals have one each; its data is what it completes.
 * E2  a connection is accepted while there is a free place, and only then. */
#include "examples/uring_echo/echo.h"

#include <errno.h>
#include <polder/arena.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "examples/uring_echo/buffers.h"

struct connection {
        struct connection *next; /* free place */
        int socket;              /* -1: the place is free */
        int index;               /* of the fixed buffer that `buffer` lies in */
        unsigned have, sent;     /* bytes in the buffer; how many of them are out again */
        char *buffer;
};

static struct {
        struct io_uring *ring;
        struct connection *places, *free; /* all; a list */
        struct echo_totals *totals;
        int listener, signals;
        bool accepting, over;
        struct signalfd_siginfo signal;
} server;

/* ---- Operations (E1) --------------------------------------------------------------------- */

/* The queue may be full of what was not submitted yet. */
static struct io_uring_sqe *next_operation(void)
{
        struct io_uring_sqe *sqe;
        while (!(sqe = io_uring_get_sqe(server.ring)))
                io_uring_submit(server.ring);
        return sqe;
}

static void start_read(struct connection *connection)
{
        struct io_uring_sqe *sqe = next_operation();
        connection->have = connection->sent = 0;
        io_uring_prep_read_fixed(sqe, connection->socket, connection->buffer, ECHO_BUFFER_BYTES, 0,
                                 connection->index);
        io_uring_sqe_set_data(sqe, connection);
}

static void start_write(struct connection *connection)
{
        struct io_uring_sqe *sqe = next_operation();
        io_uring_prep_write_fixed(sqe, connection->socket, connection->buffer + connection->sent,
                                  connection->have - connection->sent, 0, connection->index);
        io_uring_sqe_set_data(sqe, connection);
}

static void start_accept(void) /* E2 */
{
        if (server.accepting || !server.free)
                return;
        struct io_uring_sqe *sqe = next_operation();
        io_uring_prep_accept(sqe, server.listener, NULL, NULL, SOCK_CLOEXEC);
        io_uring_sqe_set_data(sqe, &server.listener);
        server.accepting = true;
}

static void await_signal(void)
{
        struct io_uring_sqe *sqe = next_operation();
        io_uring_prep_read(sqe, server.signals, &server.signal, sizeof server.signal, 0);
        io_uring_sqe_set_data(sqe, &server.signals);
}

/* ---- Connections -------------------------------------------------------------------------- */

static void close_connection(struct connection *connection)
{
        close(connection->socket);
        polder_free(connection->buffer);
        connection->socket = -1;
        connection->next = server.free;
        server.free = connection;
        start_accept();
}

/* False: no memory, or only some that came after the ring was told. */
static bool open_connection(int socket)
{
        struct connection *connection = server.free;
        char *buffer = polder_malloc(ECHO_BUFFER_BYTES);
        int index = buffer ? buffers_find(buffer, ECHO_BUFFER_BYTES) : -1;
        if (index < 0) {
                polder_free(buffer);
                return false;
        }
        server.free = connection->next;
        *connection = (struct connection){ .socket = socket, .index = index, .buffer = buffer };
        server.totals->connections++;
        start_read(connection);
        return true;
}

static void on_accept(int result)
{
        server.accepting = false;
        if (result >= 0 && !open_connection(result))
                close(result);
        if (result == -EMFILE || result == -ENFILE)
                return; /* until a connection ends */
        start_accept();
}

/* A read or a write of the connection is done. */
static void on_progress(struct connection *connection, int result)
{
        bool reading = connection->have == 0;
        if (result <= 0) { /* the other side is done, or gone */
                close_connection(connection);
                return;
        }
        if (reading) {
                connection->have = (unsigned)result;
        } else {
                connection->sent += (unsigned)result;
                server.totals->nbytes += (unsigned)result;
        }
        if (connection->sent < connection->have)
                start_write(connection);
        else
                start_read(connection);
}

/* ---- The loop -------------------------------------------------------------------------------- */

static void on_completion(const struct io_uring_cqe *cqe)
{
        void *data = io_uring_cqe_get_data(cqe);
        if (data == &server.listener)
                on_accept(cqe->res);
        else if (data == &server.signals)
                server.over = true;
        else
                on_progress(data, cqe->res);
}

static int turn(void)
{
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;
        int error = io_uring_submit_and_wait(server.ring, 1);
        if (error < 0)
                return error == -EINTR || error == -EBUSY ? 0 : error;
        io_uring_for_each_cqe(server.ring, head, cqe)
        {
                on_completion(cqe);
                n++;
        }
        io_uring_cq_advance(server.ring, n);
        return 0;
}

static int make_places(size_t most)
{
        server.places = polder_calloc(most, sizeof *server.places);
        if (!server.places)
                return -ENOMEM;
        for (size_t i = most; i-- > 0;) {
                server.places[i] = (struct connection){ .socket = -1, .next = server.free };
                server.free = &server.places[i];
        }
        return 0;
}

int echo_serve(struct io_uring *ring, int listener, int signals, size_t most,
               struct echo_totals *totals)
{
        server.ring = ring;
        server.listener = listener;
        server.signals = signals;
        server.totals = totals;
        int error = make_places(most);
        if (error)
                return error;
        await_signal();
        start_accept();
        while (!error && !server.over)
                error = turn();
        for (size_t i = 0; i < most; i++)
                if (server.places[i].socket >= 0)
                        shutdown(server.places[i].socket, SHUT_RDWR);
        return error;
}
