/* SPDX-License-Identifier: MIT */
/* Sleeps for two seconds, in two ways: one long wait, and many short ones. The host looks at what that cost it. */
#include "guest.h"

int mirage_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    uint64_t start_ns = plat_monotonic_ns();
    plat_wait(start_ns + 1500000000);
    for (int i = 1; i <= 10; i++) {
        plat_wait(start_ns + 1500000000 + (uint64_t)i * 50000000);
    }
    say("SUCCESS\n");
    return 0;
}
