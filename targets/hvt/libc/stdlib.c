/* SPDX-License-Identifier: MIT */
/*
 * stdlib.c: errno and the two ways out. No malloc: what is allocated lives on the collected heap.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "../hvt.h"

int errno;

void exit(int code) {
    plat_exit(code);
}

void abort(void) {
    hvt_die("abort", MIRAGE_EXIT_FAULT);
}

void hvt_assert_failed(const char *condition, const char *file, int line) {
    hvt_print("mirage: assertion failed: ");
    hvt_print(condition);
    hvt_print(" at ");
    hvt_print(file);
    hvt_print(":");
    hvt_print_dec((uint64_t)line);
    hvt_print("\n");
    plat_exit(MIRAGE_EXIT_FAULT);
}
