/* plugin.h: what tests/life/plugin.c asks of the library that it loads. */
#ifndef TESTS_LIFE_PLUGIN_H
#define TESTS_LIFE_PLUGIN_H

struct plugin {
        void (*enter)(int leaves_properly); /* registers its variables, makes objects */
        void *(*held)(void);                /* an object that only its variables hold */
        void *(*object)(void);              /* one of its layout, for the caller to hold */
        unsigned (*ncalls)(void);           /* of its finalizer */
        void (*slow_finalizer)(int leaves_properly); /* an object whose finalizer takes its time */
};

#endif
