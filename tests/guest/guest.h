/* SPDX-License-Identifier: MIT */
/* What the tiny guests share: a printf of %s %d %u %x (all 64-bit), and checks. */
#ifndef GUEST_H
#define GUEST_H

#include <stdarg.h>
#include <string.h>

#include "port_abi.h"

static inline void say_number(uint64_t value, unsigned base) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    plat_console_write(digits + at, sizeof(digits) - at);
}

/* What the platform tells an interpreter; there is none. From an interrupt handler, so: no SSE. */
__attribute__((target("general-regs-only"))) void mirage_attention(void) {
}
void mirage_interrupt(int exit_code) {
    (void)exit_code;
}
void mirage_stop_overdue(void) {
}
bool mirage_spins(void) {
    return false;
}

/* Numbers are passed as 64-bit ones or as int; %d takes int, %u and %x uint64_t. */
static inline void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    for (const char *p = format; *p != 0; p++) {
        if (*p != '%') {
            plat_console_write(p, 1);
            continue;
        }
        p++;
        if (*p == 's') {
            const char *text = va_arg(args, const char *);
            plat_console_write(text, strlen(text));
        } else if (*p == 'd') {
            int value = va_arg(args, int);
            if (value < 0) {
                plat_console_write("-", 1);
            }
            say_number(value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
        } else {
            say_number(va_arg(args, uint64_t), *p == 'x' ? 16 : 10);
        }
    }
    va_end(args);
}

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            say("FAILED: %s, line %d\n", #condition, __LINE__); \
            plat_exit(1); \
        } \
    } while (0)

#endif
