/* histograms.h: the times that are kept, written down. */
#ifndef PLD_COLLECTOR_HISTOGRAMS_H
#define PLD_COLLECTOR_HISTOGRAMS_H

#include <stdio.h>

void pld_histograms_print_text(FILE *to);
void pld_histograms_print_json(FILE *to); /* a member "histograms" of an object */
void pld_histograms_print_prometheus(FILE *to);

#endif
