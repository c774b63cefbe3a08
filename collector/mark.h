/* mark.h: shading and scanning.
 *
 * To *shade* an object is to mark it and, if it has pointers, to queue it. To
 * *scan* it is to shade what it refers to. A marker is whoever does either: a
 * worker, a mutator in its barrier, its handshakes or an assist. */
#ifndef PLD_COLLECTOR_MARK_H
#define PLD_COLLECTOR_MARK_H

#include "collector/grey.h"
#include "collector/layout.h"

enum {
        PLD_MARK_BATCH = 32,      /* objects asked for at once */
        PLD_MARK_CANDIDATES = 192 /* at least 64: so many can an object of a form have */
};

/* A pointer to an object that may not be marked yet. Its mark bit has been asked for. */
struct pld_candidate {
        _Atomic uint64_t *word; /* of the mark bit */
        size_t index;           /* of the object in its span */
        uintptr_t pointer;      /* to the object; perhaps with PLD_GREY_CANDIDATE */
        struct pld_place place;
};

struct pld_marker {
        struct pld_grey_chunk *grey;                /* being filled; NULL: none yet */
        struct pld_grey_chunk *away[PLD_MAX_NODES]; /* for other nodes' workers; workers only */
        unsigned node;                              /* whose queue it fills */
        bool at_home;  /* leaves other nodes' objects to their workers */
        bool has_credit;
        uint64_t marked_bytes, scanned_bytes; /* since they were last collected, */
        uint64_t large_bytes;                 /* and of those marked, in large objects */
        uint64_t sent;                        /* references sent to other nodes */
        /* Objects that have been asked for, to be scanned in this batch, and in the next. */
        uintptr_t batch[2][PLD_MARK_BATCH];
        unsigned nbatch[2], batch_at, now;
        unsigned ncandidates; /* none between calls */
        struct pld_candidate candidate[PLD_MARK_CANDIDATES];
};

void pld_marker_init(struct pld_marker *marker, unsigned node, bool at_home);

/* A slot of a precise object: an object's first byte, or NULL. */
void pld_shade_exact(struct pld_marker *marker, uintptr_t word);
/* A word that may be anything: shades the object that it points into, if any. */
void pld_shade_word(struct pld_marker *marker, uintptr_t word);
/* The same for each word of [from, to), 8-byte aligned; a word that lies exactly
 * on an object's start also keeps the object before it. */
void pld_shade_stack(struct pld_marker *marker, uintptr_t from, uintptr_t to);

/* An item for a chunk (grey.h). */
void pld_marker_push(struct pld_marker *marker, uintptr_t item);
/* An object that is marked already: it is scanned (again). */
void pld_marker_queue(struct pld_marker *marker, uintptr_t object);

/* To shade what was found elsewhere than in the queues; while another credit is held. */
void pld_marker_take_credit(struct pld_marker *marker);
/* Scans queued objects until about `budget` bytes are scanned or nothing is left
 * (false). */
bool pld_mark_some(struct pld_marker *marker, uint64_t budget);
/* Gives away all it holds; true when there was anything. */
bool pld_marker_flush(struct pld_marker *marker);
bool pld_marker_is_empty(const struct pld_marker *marker);
/* After an overflow, with all mutators stopped: queues every marked object again. */
void pld_mark_recover(struct pld_marker *marker);

/* Every pointer-sized word of an object that may be a pointer. */
typedef void (*pld_slot_visit)(uintptr_t *slot, bool exact, void *arg);
void pld_object_each(struct pld_span *span, uintptr_t object, pld_slot_visit visit, void *arg);

/* The object that a word points into. */
struct pld_found {
        struct pld_span *span; /* NULL: none */
        size_t index;
};
static inline struct pld_found pld_find_object(uintptr_t word)
{
        struct pld_place place = pld_place_of_word(word);
        if (pld_place_kind(place) != PLD_KIND_COLLECTED)
                return (struct pld_found){ NULL, 0 };
        struct pld_span *span = pld_place_span(place);
        size_t i = pld_span_index(span, word);
        return (struct pld_found){ pld_span_has_object(span, i) ? span : NULL, i };
}

#endif
