/* SPDX-License-Identifier: MIT */
/* Prints 32 random octets, or that the machine has none. */
#include "guest.h"

int mirage_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    uint64_t words[5] = {0};
    if (!plat_entropy((uint8_t *)words, 35)) {
        say("no source of entropy\n");
        return 0;
    }
    CHECK(words[0] != 0 && words[0] != words[1] && words[4] != 0 && words[4] >> 24 == 0);
    say("random %x%x%x%x\n", words[0], words[1], words[2], words[3]);
    return 0;
}
