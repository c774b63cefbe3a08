/* ends.cc: allocating and freeing when a thread, a module or the process ends, and
 * before it has begun: static constructors, thread_local destructors, those of
 * POSIX keys in every round, dlopen() and dlclose(), atexit(), static destructors.
 *
 * usage: ends MODULE */
#include "tests/preload/check.h"

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

namespace {

constexpr int NTHREADS = 8, NROUNDS = 40;

/* ---- The beginning and the end of the process ------------------------------------- */

struct early {
        std::vector<std::string> words;
        early()
        {
                for (int i = 0; i < 100; i++)
                        words.push_back(std::string(100, 'e') + std::to_string(i));
        }
        ~early()
        {
                words.emplace_back(1000, 'l');
                bool whole = words.size() == 101 && words[7] == std::string(100, 'e') + "7";
                words.clear();
                std::string last(500, 'x');
                if (!whole || last.size() != 500)
                        _exit(3);
        }
} first;

std::string *kept_until_exit;

void at_exit()
{
        if (*kept_until_exit != std::string(300, 'k'))
                _exit(4);
        delete kept_until_exit;
        std::free(std::malloc(70000));
}

/* ---- The ends of threads -------------------------------------------------------------- */

std::atomic<unsigned> ndestroyed, nrounds;
pthread_key_t keys[3];

/* Frees what it was given, and goes on until POSIX's rounds are over. */
void key_destructor(void *value)
{
        std::free(value);
        std::free(std::malloc(1000));
        nrounds++;
        pthread_setspecific(keys[nrounds % 3], std::malloc(33));
}

struct thread_end {
        std::string *mine = nullptr;
        std::vector<void *> blocks;
        ~thread_end()
        {
                delete mine;
                for (void *p : blocks)
                        std::free(p);
                std::string last(2000, 'z');
                ndestroyed += last.size() == 2000;
        }
};

thread_local thread_end at_end;

std::atomic<void *> mailbox[64];

/* Threads give each other blocks, free those of threads that are gone, and end with
 * blocks of theirs out. */
void live_and_die(unsigned seed)
{
        at_end.mine = new std::string(100 + seed % 50, 'm');
        for (pthread_key_t key : keys)
                pthread_setspecific(key, std::malloc(64));
        for (unsigned i = 0; i < 3000; i++) {
                seed = seed * 1103515245 + 12345;
                std::size_t nbytes = seed >> 16 & 0x3ff;
                if (i % 100 == 0)
                        nbytes *= 100;
                void *p = std::malloc(nbytes);
                if (i % 50 == 0)
                        at_end.blocks.push_back(std::malloc(nbytes));
                std::free(mailbox[seed >> 8 & 63].exchange(p));
        }
}

/* Stacks that overflow the C library's cache of stacks: it frees what belongs to a
 * thread, the module's large thread-local variable too, with its lock on that cache
 * held. Whoever wants a thread of his own then waits for ever. */
void *touch_large_variable(void *function)
{
        return reinterpret_cast<void *(*)()>(function)();
}

void check_stacks(void *module)
{
        constexpr std::size_t STACK = std::size_t(64) << 20;
        void *touch = dlsym(module, "module_touch_large");
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, STACK);
        unsigned nmade = 0;
        for (int i = 0; touch && i < 10; i++) {
                pthread_t thread;
                nmade += pthread_create(&thread, &attr, touch_large_variable, touch) == 0 &&
                         pthread_join(thread, nullptr) == 0;
        }
        CHECK(nmade == 10);
        pthread_attr_destroy(&attr);
}

void check_threads()
{
        unsigned before = ndestroyed;
        for (pthread_key_t &key : keys)
                CHECK(pthread_key_create(&key, key_destructor) == 0);
        for (int round = 0; round < NROUNDS; round++) {
                std::vector<std::thread> threads;
                for (int i = 0; i < NTHREADS; i++)
                        threads.emplace_back(live_and_die, unsigned(round * NTHREADS + i));
                for (std::thread &thread : threads)
                        thread.join();
        }
        CHECK(ndestroyed - before == NROUNDS * NTHREADS);
        CHECK(nrounds >= 3 * NROUNDS * NTHREADS);
        for (auto &slot : mailbox)
                std::free(slot.exchange(nullptr));
}

void *wait_to_be_cancelled(void *)
{
        std::string held(500, 'c'); /* destroyed by the unwinding */
        at_end.mine = new std::string(held);
        for (;;)
                pause();
        return nullptr;
}

void check_cancellation()
{
        unsigned before = ndestroyed;
        for (int i = 0; i < 50; i++) {
                pthread_t thread;
                void *result = nullptr;
                if (pthread_create(&thread, nullptr, wait_to_be_cancelled, nullptr))
                        break;
                pthread_cancel(thread);
                pthread_join(thread, &result);
                CHECK(result == PTHREAD_CANCELED);
        }
        CHECK(ndestroyed >= before);
}

/* ---- Modules ------------------------------------------------------------------------------ */

void open_and_close(const char *path, std::atomic<unsigned> *ngood)
{
        for (int i = 0; i < 30; i++) {
                void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
                if (!module)
                        return;
                auto make = reinterpret_cast<char *(*)(int)>(dlsym(module, "module_make"));
                auto total = reinterpret_cast<int (*)()>(dlsym(module, "module_total"));
                char *text = make ? make(i) : nullptr;
                bool good = text && total && total() > 0 && std::atoi(text) == i;
                dlclose(module);
                *ngood += good;
                std::free(text); /* the block outlives the module that made it */
        }
}

void check_modules(const char *path)
{
        std::atomic<unsigned> ngood{ 0 };
        std::thread one(open_and_close, path, &ngood), two(open_and_close, path, &ngood);
        std::vector<std::thread> others;
        for (int i = 0; i < 4; i++)
                others.emplace_back(live_and_die, unsigned(i));
        one.join();
        two.join();
        for (std::thread &thread : others)
                thread.join();
        CHECK(ngood == 60);
        if (ngood != 60)
                std::printf("%s\n", dlerror());
        CHECK(!dlopen("libthere-is-no-such-thing.so", RTLD_NOW) && dlerror());
}

} // namespace

int main(int argc, char **argv)
{
        CHECK(is_polders("malloc") && is_polders("_Znwm"));
        CHECK(first.words.size() == 100);
        kept_until_exit = new std::string(300, 'k');
        CHECK(std::atexit(at_exit) == 0);
        void *module = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
        CHECK(module);
        if (module) {
                check_stacks(module); /* first: later there may be a thread already */
                dlclose(module);
                check_modules(argv[1]);
        }
        check_threads();
        check_cancellation();
        at_end.mine = new std::string("of the main thread");
        return report();
}
