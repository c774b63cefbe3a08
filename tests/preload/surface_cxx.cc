/* surface_cxx.cc: every replaceable operator new and delete, as the standard has
 * them. Knows nothing of Polder but that it should be there. */
#include "tests/preload/check.h"

#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <sys/resource.h>

namespace {

constexpr std::size_t TOO_MUCH = std::size_t(1) << 62;

/* Not to be seen through by the compiler, which may leave out a new and its delete. */
void *volatile sink;

void *seen(void *p)
{
        sink = p;
        return sink;
}

bool is_aligned(const void *p, std::size_t align)
{
        return p && reinterpret_cast<std::uintptr_t>(p) % align == 0;
}

void check_presence()
{
        static const char *const names[] = {
                "_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t",
                "_ZnwmSt11align_val_t", "_ZnamSt11align_val_t",
                "_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t",
                "_ZdlPv", "_ZdaPv", "_ZdlPvm", "_ZdaPvm", "_ZdlPvRKSt9nothrow_t",
                "_ZdaPvRKSt9nothrow_t", "_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t",
                "_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t",
                "_ZdlPvSt11align_val_tRKSt9nothrow_t", "_ZdaPvSt11align_val_tRKSt9nothrow_t",
        };
        for (const char *name : names)
                count_fact(is_polders(name), name, __FILE__, __LINE__);
}

void check_plain()
{
        for (std::size_t nbytes : { 0, 1, 16, 1000, 40000, 3000000 }) {
                void *p = seen(::operator new(nbytes)), *q = seen(::operator new[](nbytes));
                CHECK(is_aligned(p, 16) && is_aligned(q, 16) && p != q);
                ::operator delete(p);
                ::operator delete[](q, nbytes);
                p = seen(::operator new(nbytes, std::nothrow));
                q = seen(::operator new[](nbytes, std::nothrow));
                CHECK(is_aligned(p, 16) && is_aligned(q, 16) && p != q);
                ::operator delete(p, std::nothrow);
                ::operator delete[](q, std::nothrow);
                ::operator delete(seen(::operator new(nbytes)), nbytes);
                ::operator delete[](seen(::operator new[](nbytes)));
        }
        ::operator delete(nullptr);
        ::operator delete[](nullptr, std::align_val_t(64));
}

void check_aligned_forms()
{
        for (std::size_t align = 1; align <= std::size_t(1) << 20; align *= 2) {
                const auto a = std::align_val_t(align);
                void *p[8];
                for (int i = 0; i < 2; i++) {
                        p[i] = seen(::operator new(100, a));
                        p[2 + i] = seen(::operator new[](100, a));
                        p[4 + i] = seen(::operator new(100, a, std::nothrow));
                        p[6 + i] = seen(::operator new[](100, a, std::nothrow));
                }
                bool good = true;
                for (void *q : p)
                        good &= is_aligned(q, align);
                CHECK(good);
                ::operator delete(p[0], a);
                ::operator delete(p[1], std::size_t(100), a);
                ::operator delete[](p[2], a);
                ::operator delete[](p[3], std::size_t(100), a);
                ::operator delete(p[4], a, std::nothrow);
                ::operator delete(p[5], a);
                ::operator delete[](p[6], a, std::nothrow);
                ::operator delete[](p[7], a);
        }
        struct alignas(256) Wide {
                char bytes[300];
        };
        auto wide = std::make_unique<Wide[]>(7);
        CHECK(is_aligned(wide.get(), 256));
}

template <typename F> bool throws_bad_alloc(F fn)
{
        try {
                seen(fn());
        } catch (const std::bad_alloc &) {
                return true;
        } catch (...) {
        }
        return false;
}

void check_failures()
{
        const auto wide = std::align_val_t(256);
        CHECK(throws_bad_alloc([] { return ::operator new(TOO_MUCH); }));
        CHECK(throws_bad_alloc([] { return ::operator new[](TOO_MUCH); }));
        CHECK(throws_bad_alloc([&] { return ::operator new(TOO_MUCH, wide); }));
        CHECK(throws_bad_alloc([&] { return ::operator new[](TOO_MUCH, wide); }));
        CHECK(!seen(::operator new(TOO_MUCH, std::nothrow)));
        CHECK(!seen(::operator new[](TOO_MUCH, std::nothrow)));
        CHECK(!seen(::operator new(TOO_MUCH, wide, std::nothrow)));
        CHECK(!seen(::operator new[](TOO_MUCH, wide, std::nothrow)));
        CHECK(throws_bad_alloc([]() -> void * {
                std::vector<char> much(TOO_MUCH);
                return much.empty() ? &much : nullptr;
        }));
}

int ncalls;

void give_up_at_third()
{
        if (++ncalls == 3)
                std::set_new_handler(nullptr);
}

void throw_bad_alloc()
{
        ncalls++;
        throw std::bad_alloc();
}

void throw_otherwise()
{
        throw 42;
}

void check_handlers()
{
        std::set_new_handler(give_up_at_third);
        ncalls = 0;
        CHECK(throws_bad_alloc([] { return ::operator new(TOO_MUCH); }) && ncalls == 3);
        std::set_new_handler(give_up_at_third);
        ncalls = 0;
        CHECK(throws_bad_alloc([] { return ::operator new[](TOO_MUCH, std::align_val_t(64)); }));
        CHECK(ncalls == 3);
        std::set_new_handler(throw_bad_alloc);
        ncalls = 0;
        CHECK(!seen(::operator new(TOO_MUCH, std::nothrow)) && ncalls == 1);
        CHECK(!seen(::operator new[](TOO_MUCH, std::align_val_t(64), std::nothrow)));
        CHECK(ncalls == 2);
        std::set_new_handler(throw_otherwise);
        int caught = 0;
        try {
                seen(::operator new(TOO_MUCH));
        } catch (int what) {
                caught = what;
        }
        CHECK(caught == 42);
        std::set_new_handler(nullptr);
}

/* A handler that finds memory makes operator new succeed. */
rlimit before;

void lift_the_limit()
{
        ncalls++;
        setrlimit(RLIMIT_DATA, &before);
}

void check_handler_that_helps()
{
        getrlimit(RLIMIT_DATA, &before);
        rlimit tight = before;
        tight.rlim_cur = 1 << 20;
        std::set_new_handler(lift_the_limit);
        ncalls = 0;
        setrlimit(RLIMIT_DATA, &tight);
        void *p = seen(::operator new(64 << 20));
        setrlimit(RLIMIT_DATA, &before);
        std::set_new_handler(nullptr);
        CHECK(p && ncalls == 1);
        ::operator delete(p);
}

void check_containers()
{
        std::map<std::string, std::vector<int>> map;
        for (int i = 0; i < 10000; i++)
                map["key " + std::to_string(i % 997)].push_back(i);
        std::size_t n = 0;
        for (const auto &entry : map)
                n += entry.second.size();
        CHECK(n == 10000);
        auto shared = std::make_shared<std::string>(100000, 'x');
        std::weak_ptr<std::string> weak = shared;
        shared.reset();
        CHECK(weak.expired());
}

} // namespace

int main()
{
        check_presence();
        check_plain();
        check_aligned_forms();
        check_failures();
        check_handlers();
        check_handler_that_helps();
        check_containers();
        return report();
}
