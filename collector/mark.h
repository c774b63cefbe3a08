/* mark.h: shading.
 *
 * To *shade* an object is to mark it and, if it has pointers, to queue it. To
 * *scan* it is to shade what it refers to (scan.h). A marker is whoever does either: a
 * worker, a mutator in its barrier, its handshakes or an assist. */
#ifndef PLD_COLLECTOR_MARK_H
#define PLD_COLLECTOR_MARK_H

#include "base/prefetch.h"
#include "collector/grey.h"
#include "collector/layout.h"

enum {
        PLD_MARK_AHEAD = 16, /* objects asked for before the first of them is scanned */
        PLD_MARK_GROUP = 64, /* words whose mark bits are asked for together, at least */
        PLD_MARK_WORDS = PLD_MARK_GROUP + 64 /* so many can an object of a form have */
};

/* Pointers to objects that may not be marked yet. Their mark bits have been asked for. One array
 * for each thing that is known of them: so to look at one it takes no address but the arrays', and
 * compilers don't gather in vectors what is stored. */
struct pld_candidates {
        struct pld_marks *marks[PLD_MARK_WORDS];
        uint64_t index[PLD_MARK_WORDS];         /* of the object in its span << PLD_FORM_SHIFT */
        uintptr_t at[PLD_MARK_WORDS];           /* one of the words */
        struct pld_place place[PLD_MARK_WORDS];
};

struct pld_marker {
        struct pld_grey_chunk *grey;                /* being filled; NULL: none yet */
        struct pld_grey_chunk *away[PLD_MAX_NODES]; /* for other nodes' workers; workers only */
        unsigned node;                              /* whose queue it fills */
        bool at_home;  /* leaves other nodes' objects to their workers */
        bool has_credit;
        bool has_pen; /* M6 */
        uint64_t marked_bytes, scanned_bytes; /* since they were last collected, */
        uint64_t large_bytes;                 /* and of those marked, in large objects */
        uint64_t sent;                        /* references sent to other nodes */
        /* A ring of objects that have been asked for, from its first on. */
        uintptr_t asked[PLD_MARK_AHEAD];
        unsigned first, nasked;
        /* None of either between calls. */
        size_t nwords, ncandidates;
        /* Found in objects: how far from the range's beginning; perhaps with
         * PLD_GREY_CANDIDATE. */
        uintptr_t words[PLD_MARK_WORDS];
        struct pld_candidates candidates;
        /* To be shaded by the next flush at the latest (M5). */
        unsigned nnoted;
        uintptr_t noted[PLD_MARK_GROUP];
};

void pld_marker_init(struct pld_marker *marker, unsigned node, bool at_home);
/* The pen, if nobody has it: with it, to mark is cheaper (mark.c, M6). */
void pld_marker_take_pen_try(struct pld_marker *marker);
void pld_marker_lay_down_pen(struct pld_marker *marker);
void pld_markers_fork_child(void);

/* A slot of a precise object: an object's first byte, or NULL. */
void pld_shade_exact(struct pld_marker *marker, uintptr_t word);
/* A word that may be anything: shades the object that it points into, if any. */
void pld_shade_word(struct pld_marker *marker, uintptr_t word);
/* Shades all that was noted. */
void pld_shade_noted(struct pld_marker *marker);
/* As pld_shade_word(), but only before the next flush (M5). In a cycle, before its flip. */
static inline void pld_note_word(struct pld_marker *marker, uintptr_t word)
{
        if (!pld_range_has(word))
                return;
        __builtin_prefetch((const void *)&pld_page_map[(word - pld_range.base) >> PLD_PAGE_SHIFT]);
        marker->noted[marker->nnoted++] = word;
        if (pld_unlikely(marker->nnoted == PLD_MARK_GROUP))
                pld_shade_noted(marker);
}
/* The same as pld_shade_word() for a word that was read in an object. */
void pld_shade_found(struct pld_marker *marker, uintptr_t word);
/* The same for each word of [from, to), 8-byte aligned; a word that lies exactly
 * on an object's start also keeps the object before it. */
void pld_shade_stack(struct pld_marker *marker, uintptr_t from, uintptr_t to);

/* An item for a chunk (grey.h). */
void pld_marker_push(struct pld_marker *marker, uintptr_t item);
/* An object that is marked already: it is scanned (again). */
void pld_marker_queue(struct pld_marker *marker, uintptr_t object);

/* Asks for the mark bits of the words that were found, and settles, as white or not, those of the
 * words before. */
void pld_mark_turn(struct pld_marker *marker);
/* The same, and settles them, too: then no words are left, and no candidates. */
void pld_mark_settle(struct pld_marker *marker);

/* To shade what was found elsewhere than in the queues; while another credit is held. */
void pld_marker_take_credit(struct pld_marker *marker);
/* Shades what was noted, and gives away all it holds; true when there was anything to give. */
bool pld_marker_flush(struct pld_marker *marker);
bool pld_marker_is_empty(const struct pld_marker *marker);
static inline bool pld_marker_has_grey(const struct pld_marker *marker)
{
        return marker->grey && marker->grey->n > 0;
}

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
