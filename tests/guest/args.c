/* SPDX-License-Identifier: MIT */
/* Prints each boot argument in brackets; `exit N` ends with N, `fatal` with abort(). */
#include <stdlib.h>

#include "guest.h"

int mirage_main(int argc, char **argv) {
    CHECK(argv[argc] == NULL);
    for (int i = 0; i < argc; i++) {
        say("[%s]\n", argv[i]);
    }
    if (argc == 2 && strcmp(argv[0], "exit") == 0) {
        int code = 0;
        for (const char *p = argv[1]; *p != 0; p++) {
            code = code * 10 + *p - '0';
        }
        return code;
    }
    if (argc == 1 && strcmp(argv[0], "fatal") == 0) {
        abort();
    }
    return 0;
}
