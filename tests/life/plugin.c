/* plugin.c: libraries with registered variables, layouts and finalizers are loaded and
 * unloaded, as is Polder itself.
 *
 * usage: plugin [part of a case's name]; in the build folder */
#include "tests/life/life.h"
#include "tests/life/plugin.h"

#include <dlfcn.h>
#include <sys/mman.h>

static void *library;

static const struct plugin *load(void)
{
        library = dlopen("tests/life/.libs/plugin_module.so", RTLD_NOW);
        if (!library)
                fprintf(stderr, "%s\n", dlerror());
        CHECK(library);
        const struct plugin *plugin = dlsym(library, "plugin");
        CHECK(plugin);
        return plugin;
}

static void unload(void)
{
        CHECK(dlclose(library) == 0);
        CHECK(!dlopen("tests/life/.libs/plugin_module.so", RTLD_NOW | RTLD_NOLOAD));
}

/* What lies on a stack for longer than a call would keep objects: all of it in threads. */
static struct polder_weak *weaks[2];

static void *visit(void *properly)
{
        const struct plugin *plugin = load();
        plugin->enter(properly != NULL);
        polder_store(&weaks[0], polder_weak_new(plugin->held()));
        polder_store(&life_keep, (struct life_node *)plugin->object());
        return NULL;
}

static void *weak_lives(void *weak)
{
        return polder_weak_get(weak) ? weak : NULL;
}

static void start_as(const char *debug)
{
        life_start("off", debug);
        CHECK(polder_root_add(weaks, sizeof weaks) == 0);
}

static void start(void)
{
        start_as("verify");
}

static void await_finalizers(void)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        do {
                life_nap(1000);
                CHECK(polder_stats_read(&stats) == 0);
        } while (stats.finalizers_pending);
}

static void reloading(void)
{
        start();
        pthread_t collector = life_collector_start();
        for (int i = 0; i < 30; i++) {
                life_on_a_thread(visit, (void *)1);
                CHECK(life_on_a_thread(weak_lives, weaks[0]));
                unload();
                /* An object of a layout from there is as good as before. */
                CHECK(life_keep->next && life_keep->value == 11);
        }
        life_collector_stop(collector);
        await_finalizers();
        life_collect();
        CHECK(!life_on_a_thread(weak_lives, weaks[0]));
}

/* Without verification, which would look by itself. */
static void forgetting_roots(void)
{
        start_as("");
        life_on_a_thread(visit, NULL);
        unload();
        life_collect();
}

static void forgetting_roots_stopped(void)
{
        start_as("");
        life_on_a_thread(visit, NULL);
        unload();
        CHECK(polder_collect(POLDER_STOP_THE_WORLD) == 0);
}

static void *set_slow_finalizer(void *properly)
{
        const struct plugin *plugin = load();
        plugin->slow_finalizer(properly != NULL);
        return NULL;
}

static void forgetting_finalizers(void)
{
        start();
        life_on_a_thread(set_slow_finalizer, NULL);
        unload();
        life_collect();
        await_finalizers();
        life_nap(500000);
}

/* dlclose() waits for the call that is under way. */
static void during_a_finalizer(void)
{
        start();
        for (int i = 0; i < 3; i++) {
                life_on_a_thread(set_slow_finalizer, (void *)1);
                const struct plugin *plugin = dlsym(library, "plugin");
                life_collect();
                while (plugin->ncalls() == 0)
                        life_nap(100);
                unload();
                life_collect();
        }
}

static void unmapped_root(void)
{
        start();
        void **root = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(root != MAP_FAILED);
        CHECK(polder_root_add(root, 1 << 16) == 0);
        life_collect();
        CHECK(munmap(root, 1 << 16) == 0);
        life_collect();
}

static const struct life_case cases[] = {
        { "a library that leaves properly, again and again while cycles run", reloading, NULL },
        { "one that leaves roots behind: the range is named", forgetting_roots,
          "it should have been removed by polder_root_remove()" },
        { "the same, in a stopped collection", forgetting_roots_stopped, "polder_root_remove()" },
        { "one that leaves finalizers behind: they are named", forgetting_finalizers,
          "polder_finalizer_forget()" },
        { "one whose finalizer runs", during_a_finalizer, NULL },
        { "a root that is unmapped is named when verifying", unmapped_root, "before it was unmapped" },
};

int main(int argc, char **argv)
{
        return life_main(cases, PLD_COUNT_OF(cases), argc, argv);
}
