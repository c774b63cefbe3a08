/* cxx_program.cc: polder.h as a C++11 program sees it. */
#include <polder/polder.h>

#include <cstdio>

struct entry {
        entry *next;
        void *data;
        long value;
};

struct special : entry {
};

static int passed, failed;

static void expect(bool fact, const char *what)
{
        ++(fact ? passed : failed);
        if (!fact)
                std::printf("wrong: %s\n", what);
}

int main()
{
        const std::size_t offsets[] = { offsetof(entry, next), offsetof(entry, data) };
        const struct polder_layout *layout = polder_layout_of(sizeof(entry), offsets, 2);
        entry *one = static_cast<entry *>(polder_new(layout));
        entry *two = static_cast<entry *>(polder_new(layout));
        expect(one != nullptr && two != nullptr, "new");
        polder_store(&one->next, two);
        expect(polder_load(&one->next) == two, "store and load");
        polder_store(&one->next, nullptr);
        expect(polder_load(&one->next) == nullptr, "store of nullptr");
        entry *expected = nullptr;
        expect(polder_compare_exchange(&one->next, &expected, two), "compare exchange");
        expected = nullptr;
        expect(!polder_compare_exchange(&one->next, &expected, one) && expected == two,
               "compare exchange that fails");
        expect(polder_exchange(&one->next, one) == two, "exchange");
        polder_move(&two->next, &one->next, sizeof one->next);
        expect(two->next == one, "move");
        polder_clear(&two->next, sizeof two->next);
        expect(two->next == nullptr, "clear");
        polder_safepoint();
        polder_blocking_begin();
        polder_blocking_end();
        polder_weak *weak = polder_weak_new(one);
        expect(polder_collect(POLDER_CONCURRENT) == 0, "collect");
        expect(polder_weak_get(weak) == one, "weak");
        polder_keep_alive(one);
        polder_options options;
        polder_options_init(&options);
        expect(options.gc_percent == 100, "options");
        polder_stats stats = {};
        stats.struct_size = sizeof stats;
        expect(polder_stats_read(&stats) == 0 && stats.cycles == 1, "stats");
        std::printf("%d passed, %d failed\n", passed, failed);
        return failed != 0;
}
