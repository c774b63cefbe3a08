/* settings.h: what was asked for on the command line. */
#ifndef KVD_SETTINGS_H
#define KVD_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

struct settings {
        const char *address;
        int port; /* 0: any; the real one once the server has started */
        unsigned threads;
        unsigned max_clients;
        size_t max_memory;  /* 0: no bound */
        int64_t started_ms; /* on the store's clock */
};

extern struct settings settings; /* const once the workers run */

#endif
