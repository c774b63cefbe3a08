/* place_weighted: weighted interleave, three parts to one: by how much are they off?
 *
 * usage: place_weighted. Two nodes. The policy is set here, as numactl may not know it. */
#include <polder/polder.h>

#include "tests/guest/place.h"

#include <sys/utsname.h>

#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6 /* Linux 6.9 */
#endif

#define HUGE ((size_t)2 << 20)

enum { NHUGE = 61 };

static const unsigned weights[2] = { 3, 1 };

static bool set_weight(int node, unsigned weight)
{
        char path[96];
        snprintf(path, sizeof path, "/sys/kernel/mm/mempolicy/weighted_interleave/node%d", node);
        FILE *file = fopen(path, "w");
        return file && fprintf(file, "%u", weight) > 0 && fclose(file) == 0;
}

/* All that can be off is one huge page. */
static void check_shares(const char *what, const size_t nbytes[2])
{
        double all = (double)(nbytes[0] + nbytes[1]);
        for (int node = 0; node < 2; node++) {
                double due = all * weights[node] / (weights[0] + weights[1]);
                double off = (double)nbytes[node] - due;
                place_fact(off <= (double)HUGE && off >= -(double)HUGE,
                           "%s: node %d has %zu bytes, and is due %.0f", what, node, nbytes[node],
                           due);
        }
}

static void check_books(void)
{
        struct polder_backing rows[16];
        size_t n = polder_backing_read(rows, 16), nbytes[2] = { 0, 0 };
        for (size_t i = 0; i < n && i < 16; i++)
                nbytes[rows[i].node & 1] += rows[i].bytes;
        place_fact(nbytes[0] + nbytes[1] >= NHUGE * HUGE, "%zu bytes are backed",
                   nbytes[0] + nbytes[1]);
        check_shares("the books", nbytes);
}

static void check_block(char *at, size_t nbytes)
{
        size_t found[2] = { 0, 0 }, elsewhere = 0;
        memset(at, 1, nbytes);
        for (size_t i = 0; i < nbytes; i += 4096) {
                void *page = at + i;
                int id = -1;
                if (move_pages(0, 1, &page, NULL, &id, 0) == 0 && (id == 0 || id == 1))
                        found[id] += 4096;
                else
                        elsewhere++;
        }
        place_fact(elsewhere == 0, "%zu base pages lie nowhere", elsewhere);
        check_shares("the kernel", found);
}

int main(void)
{
        unsigned long nodes = 3;
        struct utsname name;
        uname(&name);
        if (!set_weight(0, weights[0]) || !set_weight(1, weights[1]) ||
            set_mempolicy(MPOL_WEIGHTED_INTERLEAVE, &nodes, 8) != 0) {
                printf("skipped: Linux %s has no weighted interleave; 6.9 has\n", name.release);
                return 0;
        }
        struct polder_options options;
        polder_options_init(&options);
        options.reserve = NHUGE * HUGE;
        options.prefault = true;
        place_fact(polder_init(&options) == 0, "the start");
        check_books();
        char *block = polder_malloc(NHUGE * HUGE);
        if (place_fact(block != NULL, "a block"))
                check_block(block, NHUGE * HUGE);
        return place_done();
}
