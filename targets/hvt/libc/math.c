/* SPDX-License-Identifier: MIT */
/*
 * math.c: what MicroPython's lib/libm_dbl leaves to the platform, or the CPU does in one instruction.
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

double log2(double x) {
    /* The exponent apart, so that powers of two come out exact. */
    int exponent;
    double mantissa = frexp(x, &exponent);
    if (!(x > 0) || isinf(x)) {
        return log(x);
    }
    return mantissa == 0.5 ? exponent - 1 : log(mantissa) * M_LOG2E + exponent;
}
