#include "arena/node_stats.h"

struct pld_node_counts pld_node_counts[PLD_MAX_NODES];
