/* SPDX-License-Identifier: MIT */
/* SSE arithmetic works, in the default rounding and with its exceptions masked, and survives interrupts. */
#include "guest.h"

int mirage_main(int argc, char **argv) {
    (void)argv;
    volatile double x = argc + 1.0, zero = 0.0;
    CHECK(x / 3.0 * 3.0 == x);
    CHECK(x / zero > 1e308);
    volatile double not_a_number = zero / zero;
    CHECK(not_a_number != not_a_number);
    CHECK((long)(x * 1e15) == 1000000000000000L);
    register double kept __asm__("xmm7") = x * 7;
    __asm__ volatile("" : "+x"(kept));
    plat_wait(plat_monotonic_ns() + 2000000);
    __asm__ volatile("" : "+x"(kept));
    CHECK(x * 7 == 7.0);
    volatile long double extended = 1.0L;
    for (int i = 0; i < 60; i++) {
        extended /= 2; /* x87, whose control word decides the precision */
    }
    CHECK(extended + 1.0L > 1.0L);
    say("SUCCESS\n");
    return 0;
}
