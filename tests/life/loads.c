/* loads.c: a program that is not linked with Polder loads it, uses it and unloads it.
 *
 * usage: loads; in the build folder */
#include <polder/polder.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NTHREADS = 4 };

static unsigned npassed, nfailed;

static void check(const char *what, int good)
{
        printf("%s %s\n", good ? "ok    " : "FAILED", what);
        good ? npassed++ : nfailed++;
}

struct calls {
        void *(*new_leaf)(size_t nbytes);
        void *(*malloc)(size_t nbytes);
        void (*free)(void *p);
        int (*collect)(enum polder_collect_mode mode);
};

static void *use(void *arg)
{
        const struct calls *calls = arg;
        char *last = NULL;
        for (int i = 0; i < 20000; i++) {
                char *object = calls->new_leaf(40);
                void *block = calls->malloc(100);
                if (!object || !block)
                        return NULL;
                strcpy(object, "here");
                last = object;
                calls->free(block);
        }
        return strcmp(last, "here") ? NULL : arg;
}

static int use_on_threads(const struct calls *calls)
{
        pthread_t thread[NTHREADS];
        int good = calls->collect(POLDER_CONCURRENT) == 0;
        for (int i = 0; i < NTHREADS; i++)
                if (pthread_create(&thread[i], NULL, use, (void *)calls))
                        return 0;
        good &= calls->collect(POLDER_STOP_THE_WORLD) == 0;
        for (int i = 0; i < NTHREADS; i++) {
                void *result;
                pthread_join(thread[i], &result);
                good &= result == calls;
        }
        return good;
}

int main(void)
{
        struct calls calls;
        void *library = dlopen(".libs/libpolder.so", RTLD_NOW);
        if (!library)
                printf("%s\n", dlerror());
        check("it can be loaded late: its thread-local variables find room", library != NULL);
        if (!library)
                goto out;
        *(void **)&calls.new_leaf = dlsym(library, "polder_new_leaf");
        *(void **)&calls.malloc = dlsym(library, "polder_malloc");
        *(void **)&calls.free = dlsym(library, "polder_free");
        *(void **)&calls.collect = dlsym(library, "polder_collect");
        check("it works", use_on_threads(&calls));
        check("it is closed", dlclose(library) == 0);
        check("and stays, as its threads do", use_on_threads(&calls));
        check("it is loaded again", dlopen(".libs/libpolder.so", RTLD_NOW) == library);
out:
        printf("%u passed, %u failed\n", npassed, nfailed);
        return nfailed != 0;
}
