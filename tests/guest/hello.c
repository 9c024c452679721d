/* SPDX-License-Identifier: MIT */
/* The least there is: a line on the console, and the end. */
#include "guest.h"

int mirage_main(int argc, char **argv) {
    (void)argv;
    say("hello from %s, %d arguments\n", plat_name, argc);
    return 0;
}
