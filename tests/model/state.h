/* state.h: one moment of the modelled world, small enough to be a hash key.
 *
 * A reference is a small number: 0 is NULL, 1..cells names a cell, POISON is what memory holds
 * that nobody has zeroed yet. The packed form (struct key) is canonical: states that differ only
 * in how cells, threads or stack slots are called share one key. */
#ifndef MODEL_STATE_H
#define MODEL_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum { MAX_THREADS = 3, MAX_CELLS = 6, MAX_FIELDS = 2, MAX_SLOTS = 2, MAX_TIES = 2, POISON = 7 };

/* BUFFERED + t: marked, and in thread t's own buffer. GREY + f: marked, in the workers' hands,
 * fields before f are traced. Everything but WHITE is a set mark bit. */
enum colour { WHITE, BLACK, GREY, BUFFERED = GREY + MAX_FIELDS, COLOURS = BUFFERED + MAX_THREADS };

/* What a thread inside Polder does next. */
enum op {
        OP_NONE,    /* outside: handshakes and stops may take it */
        OP_OLD,     /* store: has loaded the old value, will shade it */
        OP_NEW,     /* store: will shade the new value */
        OP_WRITE,   /* store: will write, and shades nothing more */
        OP_SWAP,    /* store: will swap the new value in */
        OP_SWAPPED, /* store: has swapped, will shade the old value */
        OP_EXPECT,  /* compare-exchange: will shade the expected value */
        OP_DESIRE,  /* compare-exchange: will shade the desired value */
        OP_COMPARE, /* compare-exchange: will compare and write */
        OP_JOURNAL, /* has written, will look at ages and note the slot down */
        OP_TIE_FLAGS, /* put into a tie: has written, will tell owner and key */
        OP_TIE_SHADE, /* ... will look at the phase, and shade */
        OP_TIE_GOT,   /* has read a tie's value, will shade it */
};

/* What the next cycle is: told by the last flip. */
enum kind {
        KIND_FULL,     /* sweeping clears the marks */
        KIND_YOUNG,    /* sweeping keeps them: marked between cycles means old */
        KIND_CLEARING, /* it was to be young; now the marks are cleared */
};

struct cell {
        uint8_t allocated; /* allocation bit */
        uint8_t unswept;   /* the marks of the last cycle are still to become allocation bits */
        uint8_t colour;    /* enum colour */
        uint8_t run;       /* 1 + the thread that holds it ahead of its bump pointer; 0: none */
        uint8_t hidden;    /* unpublished since birth; kept only for the mutant that needs it */
        uint8_t noted;     /* the fields that are in the journal, a bit each, */
        uint8_t later;     /* and in that of the next cycle */
        uint8_t born;      /* in this young cycle, or in the last one and not yet swept */
        uint8_t wanted;    /* it was, and something that was not refers to it: a root of the next */
        uint8_t filtered;  /* taken for noted already; kept only for the mutant that needs it */
        uint8_t tied;     /* may be a tie's key or owner: marking it queues an item */
        uint8_t item;     /* which is in the buffer that the colour tells, or queued */
        uint8_t words;    /* the threads that have noted it, to be shaded later: a bit each */
        uint8_t field[MAX_FIELDS];
};

struct tie {
        uint8_t owner; /* 0: dead, and key is not 0 */
        uint8_t key;   /* 0: there is no tie */
        uint8_t value;
};

struct thread {
        uint8_t slot[MAX_SLOTS]; /* its stack: exact words; stale ones are made up by the scan */
        uint8_t newest;          /* may be filled with plain stores; 0: none */
        uint8_t armed, scanned;
        uint8_t settled; /* was seen outside Polder since all have armed */
        uint8_t flushed; /* had nothing to flush in this round of termination */
        uint8_t op;      /* enum op; its registers follow, zero when dead */
        uint8_t target;  /* the object stored into; 0: the shared root */
        uint8_t field;  /* or the tie's number */
        uint8_t value;
        uint8_t old; /* the overwritten or the expected value */
};

struct state {
        struct cell cell[POISON + 1]; /* cell[0] and cell[POISON] are unused */
        struct thread thread[MAX_THREADS];
        struct tie tie[MAX_TIES];
        uint8_t root; /* a registered root slot, shared by all */
        uint8_t root_scanned;
        uint8_t hand;      /* a white reference that a worker has read and not shaded yet */
        uint8_t kind;      /* enum kind: of the next cycle, or the running one */
        uint8_t phase;     /* handshakes are asked for; followed only where there are ties */
        uint8_t looked;    /* this young cycle has looked at the ties of old objects */
        const char *fault; /* what a step did that no step may do; not part of the key */
};

/* How much of everything there is in one exploration. */
struct bounds {
        int threads, cells, fields, slots;
        int run;  /* cells a thread may hold ahead of its bump pointer */
        int ties; /* more than one in walks only */
        int births; /* 1: what is born in a young cycle is young after it */
        int words; /* 1: barriers note what they are to shade */
};

struct key {
        uint64_t word[2];
};

void state_init(const struct bounds *bounds, struct state *out);
struct key state_pack(const struct bounds *bounds, const struct state *state);
void state_unpack(const struct bounds *bounds, struct key key, struct state *out);

static inline bool state_is_object(const struct state *s, int ref)
{
        return s->cell[ref].allocated && !s->cell[ref].run;
}

static inline bool state_is_white(const struct state *s, int ref)
{
        return ref && (ref == POISON || s->cell[ref].colour == WHITE);
}

/* The last cycle has condemned it, though no sweep has come by. */
static inline bool state_is_dead(const struct state *s, int ref)
{
        return s->cell[ref].unswept && s->cell[ref].colour == WHITE;
}

static inline bool state_is_live(const struct state *s, int ref)
{
        return ref != POISON && state_is_object(s, ref) && !state_is_dead(s, ref);
}

#endif
