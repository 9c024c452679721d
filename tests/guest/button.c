/* SPDX-License-Identifier: MIT */
/* Sleeps until somebody presses the power button, twice; with an argument, is busy while it is pressed. */
#include "guest.h"

int mirage_main(int argc, char **argv) {
    (void)argv;
    if (argc > 0) {
        CHECK(plat_wait(0) == 0); /* from now on the button is heard */
        uint64_t end_ns = plat_monotonic_ns() + 1500000000;
        say("busy\n");
        while (plat_monotonic_ns() < end_ns) {
        }
    }
    say("ready\n");
    for (int presses = argc > 0 ? 1 : 2; presses > 0; presses--) {
        uint32_t fired = plat_wait(plat_monotonic_ns() + 10000000000);
        CHECK(fired == 1u << PLAT_SOURCE_STOP);
        say("pressed\n");
    }
    CHECK(plat_wait(plat_monotonic_ns() + 50000000) == 0);
    say("SUCCESS\n");
    return 0;
}
