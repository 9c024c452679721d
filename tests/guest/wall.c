/* SPDX-License-Identifier: MIT */
/* Wall time beside the CMOS clock: within a second at once, and to a few milliseconds after a sleep over one of its
 * seconds. With an argument the CMOS clock is only looked at, and the guest never sleeps. */
#include "guest.h"
#include "hvt.h"

#define MS 1000000UL

static uint8_t cmos_second(void) {
    outb(0x70, 0);
    uint8_t bcd = inb(0x71);
    return (uint8_t)((bcd >> 4) * 10 + (bcd & 15));
}

/* Milliseconds that wall time is ahead of the CMOS clock, looked at when its second begins; -500 to 500. */
static int ahead_ms(void) {
    uint8_t before = cmos_second(), now;
    do {
        now = cmos_second();
    } while (now == before);
    uint64_t wall_ms = plat_wall_ns() / MS;
    int64_t difference = (int64_t)(wall_ms % 60000) - 1000 * (int64_t)now;
    return (int)((difference + 30000 + 60000) % 60000 - 30000);
}

int mirage_main(int argc, char **argv) {
    (void)argv;
    uint64_t start_ns = plat_monotonic_ns();
    uint64_t first_ns = plat_wall_ns();
    CHECK(plat_monotonic_ns() - start_ns < 300 * MS); /* nobody waited for a second to begin */
    CHECK(first_ns > 1700000000UL * NS_PER_S);
    uint64_t last_ns = first_ns;
    for (int i = 0; argc == 0 && i < 240; i++) {
        CHECK(plat_wait(plat_monotonic_ns() + 10 * MS) == 0);
        CHECK(plat_wall_ns() >= last_ns); /* it is set right without going back */
        last_ns = plat_wall_ns();
    }
    int ahead = ahead_ms();
    say("ahead %d ms\n", ahead);
    CHECK(argc == 0 ? ahead > -20 && ahead < 20 : ahead > -600 && ahead < 600);
    say("SUCCESS\n");
    return 0;
}
