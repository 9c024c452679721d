/* SPDX-License-Identifier: MIT */
/* Wakes on input only, gives back what is typed, and ends with a line that says `bye`. With the argument `slow` it
 * leaves the input alone for a while first: what was typed meanwhile must not be lost. */
#include "guest.h"

int mirage_main(int argc, char **argv) {
    (void)argv;
    static char line[8192];
    size_t used = 0, wakes = 0;
    say("ready\n");
    if (argc == 1) {
        uint64_t end_ns = plat_monotonic_ns() + 700000000;
        while (plat_monotonic_ns() < end_ns) {
            plat_wait(end_ns);
        }
    }
    for (;;) {
        char text[33];
        int n;
        while ((n = plat_console_read(text, sizeof(text))) > 0) {
            for (int i = 0; i < n; i++) {
                line[used++] = text[i];
                CHECK(used < sizeof(line));
                if (text[i] == '\n') {
                    plat_console_write(line, used);
                    if (used == 4 && memcmp(line, "bye\n", 4) == 0) {
                        say("wakes %u\n", wakes);
                        return 0;
                    }
                    used = 0;
                }
            }
        }
        CHECK(n == 0);
        CHECK(plat_wait(PLAT_NO_DEADLINE) == 1u << PLAT_SOURCE_CONSOLE);
        wakes++;
    }
}
