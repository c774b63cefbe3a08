/* module.cc: opened and closed by ends.cc while threads allocate. Its constructors,
 * its destructors and its thread-local variables allocate too. */
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

static std::map<int, std::string> table = [] {
        std::map<int, std::string> made;
        for (int i = 0; i < 500; i++)
                made[i] = std::string(std::size_t(i), 't');
        return made;
}();

static void *block;

__attribute__((constructor)) static void construct()
{
        block = std::malloc(5000);
}

__attribute__((destructor)) static void destruct()
{
        std::free(block);
        std::free(std::malloc(600));
}

static thread_local std::string of_thread(1000, 'u');

extern "C" char *module_make(int i)
{
        of_thread += std::to_string(i);
        auto *text = static_cast<char *>(std::malloc(20));
        if (text)
                std::snprintf(text, 20, "%d", i);
        return text;
}

/* Larger than a huge page, and in no static TLS: malloc'ed at its first use. */
static thread_local char large[5 << 20];

extern "C" void *module_touch_large()
{
        for (std::size_t i = 0; i < sizeof large; i += 4096)
                large[i] = 1;
        return large;
}

extern "C" int module_total()
{
        return int(table.size());
}
