/* SPDX-License-Identifier: MIT */
/*
 * math.c: what the CPU does in one or two instructions, and MicroPython's lib/libm_dbl leaves out.
 */
#include <math.h>
#include <stdint.h>

typedef union {
    double value;
    uint64_t bits;
} number_t;

double sqrt(double x) {
    double root;
    __asm__("sqrtsd %1, %0" : "=x"(root) : "x"(x));
    return root;
}

double fabs(double x) {
    number_t n = {x};
    n.bits &= INT64_MAX;
    return n.value;
}

double copysign(double x, double y) {
    number_t n = {x}, sign = {y};
    n.bits = (n.bits & INT64_MAX) | (sign.bits & ~(uint64_t)INT64_MAX);
    return n.value;
}

double nan(const char *tag) {
    (void)tag;
    return __builtin_nan("");
}
