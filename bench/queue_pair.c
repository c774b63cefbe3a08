/* queue_pair: how long does a message take through a queue, beside liburcu's queues on jemalloc?
 *
 * The example's queue on Polder; wfcqueue, whose takers share a lock; rculfqueue, whose nodes
 * go through call_rcu; and a list under one lock. In one process, in turns: each thread makes a
 * message, puts it, takes one, reads it and drops it. Prints the medians of the rounds in
 * nanoseconds a message and thread, and the ratio of each pair of rounds as median, lowest
 * and highest. */
#include "examples/lockfree/queue.h"

#include "base/clock.h"

#include <polder/polder.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <urcu/urcu-qsbr.h>

#include <urcu/rculfqueue.h>
#include <urcu/wfcqueue.h>

enum { ROUNDS = 9, MESSAGES = 200000, AHEAD = 100, TURN = 64, MOST_THREADS = 2, CONTESTANTS = 4 };

struct message {
        struct cds_wfcq_node wait_free;
        struct cds_lfq_node_rcu lock_free;
        struct rcu_head head;
        struct message *next;
        uint64_t word[4];
};

struct contestant {
        const char *name;
        void (*put)(void);
        void (*take)(void);
        bool reclaims; /* by quiescent states */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;

/* ---- Polder --------------------------------------------------------------------------- */

struct words {
        uint64_t word[4];
};

static struct queue *queue; /* a registered root; const */

static void polder_put(void)
{
        struct words *words = polder_new_leaf(sizeof *words);
        if (!words || (memset(words, 1, sizeof *words), queue_put(queue, words)))
                abort();
}

static void polder_take(void)
{
        struct words *words = queue_take(queue);
        if (!words || words->word[3] != words->word[0])
                abort();
}

/* ---- liburcu's, on jemalloc ------------------------------------------------------------- */

static struct cds_wfcq_head wait_free_head;
static struct cds_wfcq_tail wait_free_tail;
static struct cds_lfq_queue_rcu lock_free;
static struct message *first, **last = &first;

static struct message *message_new(void)
{
        struct message *message = malloc(sizeof *message);
        if (!message)
                abort();
        memset(message->word, 1, sizeof message->word);
        return message;
}

static void read_message(const struct message *message)
{
        if (message->word[3] != message->word[0])
                abort();
}

static void wait_free_put(void)
{
        struct message *message = message_new();
        cds_wfcq_node_init(&message->wait_free);
        cds_wfcq_enqueue(&wait_free_head, &wait_free_tail, &message->wait_free);
}

static void wait_free_take(void)
{
        struct cds_wfcq_node *node = cds_wfcq_dequeue_blocking(&wait_free_head, &wait_free_tail);
        struct message *message = caa_container_of(node, struct message, wait_free);
        read_message(message);
        free(message);
}

static void lock_free_put(void)
{
        struct message *message = message_new();
        cds_lfq_node_init_rcu(&message->lock_free);
        cds_lfq_enqueue_rcu(&lock_free, &message->lock_free);
}

static void free_message(struct rcu_head *head)
{
        free(caa_container_of(head, struct message, head));
}

static void lock_free_take(void)
{
        struct cds_lfq_node_rcu *node = cds_lfq_dequeue_rcu(&lock_free);
        struct message *message = caa_container_of(node, struct message, lock_free);
        read_message(message);
        urcu_qsbr_call_rcu(&message->head, free_message);
}

static void locked_put(void)
{
        struct message *message = message_new();
        message->next = NULL;
        pthread_mutex_lock(&lock);
        *last = message;
        last = &message->next;
        pthread_mutex_unlock(&lock);
}

static void locked_take(void)
{
        pthread_mutex_lock(&lock);
        struct message *message = first;
        first = message->next;
        if (!first)
                last = &first;
        pthread_mutex_unlock(&lock);
        read_message(message);
        free(message);
}

/* ---- The race ----------------------------------------------------------------------------- */

static const struct contestant contestants[CONTESTANTS] = {
        { "polder", polder_put, polder_take, false },
        { "wfcqueue", wait_free_put, wait_free_take, false },
        { "rculfqueue", lock_free_put, lock_free_take, true },
        { "lock", locked_put, locked_take, false },
};

static void *work(void *arg)
{
        const struct contestant *contestant = arg;
        if (contestant->reclaims)
                urcu_qsbr_register_thread();
        else
                polder_thread_attach();
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < MESSAGES; i++) {
                contestant->put();
                contestant->take();
                if (contestant->reclaims && i % TURN == 0)
                        urcu_qsbr_quiescent_state();
        }
        if (contestant->reclaims)
                urcu_qsbr_unregister_thread();
        return NULL;
}

static double run(const struct contestant *contestant, int nthreads)
{
        pthread_t threads[MOST_THREADS];
        pthread_barrier_init(&barrier, NULL, (unsigned)nthreads + 1);
        for (int i = 0; i < nthreads; i++)
                pthread_create(&threads[i], NULL, work, (void *)contestant);
        pthread_barrier_wait(&barrier);
        uint64_t start_ns = pld_now_ns();
        for (int i = 0; i < nthreads; i++)
                pthread_join(threads[i], NULL);
        uint64_t took_ns = pld_now_ns() - start_ns;
        pthread_barrier_destroy(&barrier);
        urcu_qsbr_barrier(); /* what is left to free burdens nobody else */
        return (double)took_ns / MESSAGES;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

static void race(int nthreads)
{
        static double took[CONTESTANTS][ROUNDS], ratio[CONTESTANTS][ROUNDS];
        for (int round = -1; round < ROUNDS; round++) /* one to warm up */
                for (int i = 0; i < CONTESTANTS; i++) {
                        double ns = run(&contestants[i], nthreads);
                        if (round < 0)
                                continue;
                        took[i][round] = ns;
                        ratio[i][round] = took[0][round] / ns;
                }
        for (int i = 0; i < CONTESTANTS; i++) {
                qsort(took[i], ROUNDS, sizeof took[i][0], by_value);
                qsort(ratio[i], ROUNDS, sizeof ratio[i][0], by_value);
                printf("threads=%d queue=%s ns=%.0f", nthreads, contestants[i].name,
                       took[i][ROUNDS / 2]);
                if (i)
                        printf(" polder/%s=%.2f low=%.2f high=%.2f", contestants[i].name,
                               ratio[i][ROUNDS / 2], ratio[i][0], ratio[i][ROUNDS - 1]);
                printf("\n");
        }
}

int main(void)
{
        urcu_qsbr_register_thread();
        urcu_qsbr_thread_offline();
        cds_wfcq_init(&wait_free_head, &wait_free_tail);
        cds_lfq_init_rcu(&lock_free, urcu_qsbr_call_rcu);
        if (polder_root_add(&queue, sizeof queue))
                abort();
        polder_store(&queue, queue_new());
        for (int i = 0; i < CONTESTANTS; i++)
                for (int j = 0; j < AHEAD; j++)
                        contestants[i].put();
        for (int nthreads = 1; nthreads <= MOST_THREADS; nthreads++)
                race(nthreads);
        urcu_qsbr_unregister_thread();
        return 0;
}
