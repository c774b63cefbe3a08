/* replaced.cc: a program that replaces the two plain operators alone. By the standard
 * the array, sized and nothrow forms of the library call those. Each block of
 * ours carries a mark in front, so that a form that does not is found out. */
#include "tests/preload/check.h"

#include <cstdint>
#include <new>

namespace {

unsigned nnew, ndelete, nwrong;
bool fail;
void *volatile sink;
constexpr std::uint64_t MARK = 0x7265706c61636564;

void *seen(void *p)
{
        sink = p;
        return sink;
}

} // namespace

void *operator new(std::size_t nbytes)
{
        nnew++;
        auto *p = fail ? nullptr : static_cast<std::uint64_t *>(std::malloc(nbytes + 16));
        if (!p)
                throw std::bad_alloc();
        *p = MARK;
        return p + 2;
}

void operator delete(void *p) noexcept
{
        if (!p)
                return;
        auto *block = static_cast<std::uint64_t *>(p) - 2;
        ndelete++;
        nwrong += *block != MARK;
        std::free(block);
}

int main()
{
        CHECK(is_polders("malloc") && is_polders("_Znam") && !is_polders("_Znwm"));
        void *p[8];
        for (int i = 0; i < 2; i++) {
                p[i] = seen(::operator new(100));
                p[2 + i] = seen(::operator new[](100));
                p[4 + i] = seen(::operator new(100, std::nothrow));
                p[6 + i] = seen(::operator new[](100, std::nothrow));
        }
        CHECK(nnew == 8);
        ::operator delete(p[0]);
        ::operator delete(p[1], std::size_t(100));
        ::operator delete[](p[2]);
        ::operator delete[](p[3], std::size_t(100));
        ::operator delete(p[4], std::nothrow);
        ::operator delete(p[5], std::size_t(100));
        ::operator delete[](p[6], std::nothrow);
        ::operator delete[](p[7]);
        CHECK(ndelete == 8);
        CHECK(nwrong == 0);
        fail = true;
        CHECK(!seen(::operator new(100, std::nothrow)));
        CHECK(!seen(::operator new[](100, std::nothrow)));
        fail = false;
        return report();
}
