/* SPDX-License-Identifier: MIT */
/* Time goes on, never back; deadlines are kept; `wall` and `mark` lines are for the host to compare with its own
 * clocks. */
#include "guest.h"

#define MS 1000000UL

int mirage_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    uint64_t last_ns = plat_monotonic_ns();
    for (int i = 0; i < 100000; i++) {
        uint64_t now_ns = plat_monotonic_ns();
        CHECK(now_ns >= last_ns);
        last_ns = now_ns;
    }
    CHECK(plat_wait(0) == 0);
    CHECK(plat_wait(plat_monotonic_ns()) == 0);
    for (uint64_t sleep_ns = 1000; sleep_ns <= 64 * MS; sleep_ns *= 4) {
        uint64_t start_ns = plat_monotonic_ns();
        CHECK(plat_wait(start_ns + sleep_ns) == 0);
        uint64_t took_ns = plat_monotonic_ns() - start_ns;
        CHECK(took_ns >= sleep_ns);
        CHECK(took_ns < sleep_ns + 500 * MS); /* a busy host may let us wait */
    }
    say("wall %u\n", plat_wall_ns() / MS);
    uint64_t start_ns = plat_monotonic_ns();
    say("mark\n");
    CHECK(plat_wait(start_ns + 1000 * MS) == 0);
    say("mark\n");
    say("wall %u\n", plat_wall_ns() / MS);
    return 0;
}
