/* SPDX-License-Identifier: MIT */
/* .data, .rodata and .bss arrive as linked, and data can be written. */
#include "guest.h"

static volatile int initialised = 42;
static volatile const int constant = 43;
static volatile char zero[100000];
static volatile char *volatile pointer = &zero[7];

int mirage_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    CHECK(initialised == 42 && constant == 43);
    for (size_t i = 0; i < sizeof(zero); i++) {
        CHECK(zero[i] == 0);
    }
    initialised++;
    *pointer = 5;
    CHECK(initialised == 43 && zero[7] == 5);
    say("SUCCESS\n");
    return 0;
}
