/* SPDX-License-Identifier: MIT */
/*
 * crypto_modpow.c: modular exponentiation for RSA, in place of the one in C that BearSSL has under this name: over the Montgomery
 * multiplication in assembler that ring has from BoringSSL, which takes half of the time (docs/decisions/0017-primitives.md).
 * No branch and no address depends on the base, the exponent or the modulus, but for their lengths.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cpuid.h>

#define WORDS_MAX 64 /* 4096 bits */
#define WORDS_MIN 8 /* what the assembler takes: eight words, or more by four */
#define WINDOW_BITS 4

typedef uint64_t number_t[WORDS_MAX];
typedef unsigned __int128 wide_t;

/* r = a * b / 2**(64 * count) modulo n, all below n. n0[0]: -1 / n[0] modulo 2**64. The first needs BMI2 and ADX. */
typedef void multiply_t(
    uint64_t *r, const uint64_t *a, const uint64_t *b, const uint64_t *n, const uint64_t n0[2], size_t count);
multiply_t bn_mulx4x_mont, bn_mul4x_mont;

/* Squaring is in another file of theirs, of 11 KB, which is not worth it: nobody calls what asks for these. */
void bn_sqr8x_internal(void) __attribute__((weak, alias("no_squaring"), visibility("hidden")));
void bn_sqrx8x_internal(void) __attribute__((weak, alias("no_squaring"), visibility("hidden")));
void no_squaring(void);
void no_squaring(void) {
    __builtin_trap();
}

static multiply_t *multiplication(void) {
    unsigned a, b, c, d;
    const unsigned needed = bit_BMI2 | bit_ADX;
    bool has_both = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & needed) == needed;
    return has_both ? bn_mulx4x_mont : bn_mul4x_mont;
}

/* BearSSL's numbers: the length in bits, in 31sts, and words of 31 bits. */
static void unpack(uint64_t *number, size_t count, const uint32_t *words) {
    size_t words_count = (words[0] + 31) >> 5;
    memset(number, 0, count * sizeof(uint64_t));
    for (size_t i = 0; i < words_count; i++) {
        size_t bit = 31 * i, at = bit / 64;
        wide_t shifted = (wide_t)words[1 + i] << bit % 64;
        number[at] |= (uint64_t)shifted;
        if (at + 1 < count) {
            number[at + 1] |= (uint64_t)(shifted >> 64);
        }
    }
}

static void pack(uint32_t *words, const uint64_t *number, size_t count) {
    size_t words_count = (words[0] + 31) >> 5;
    for (size_t i = 0; i < words_count; i++) {
        size_t bit = 31 * i, at = bit / 64;
        wide_t wide = number[at];
        if (at + 1 < count) {
            wide |= (wide_t)number[at + 1] << 64;
        }
        words[1 + i] = (uint32_t)(wide >> bit % 64) & 0x7fffffff;
    }
}

/* a = 2 * a modulo n */
static void twice(uint64_t *a, const uint64_t *n, size_t count) {
    number_t reduced;
    uint64_t carry = 0, borrow = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t word = a[i];
        a[i] = word << 1 | carry;
        carry = word >> 63;
        wide_t difference = (wide_t)a[i] - n[i] - borrow;
        reduced[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    uint64_t keep = -(borrow & ~carry);
    for (size_t i = 0; i < count; i++) {
        a[i] = reduced[i] ^ (keep & (reduced[i] ^ a[i]));
    }
}

/* As in BearSSL's src/inner.h: x = x**e modulo m, e big-endian; 0 where there is no modulus. */
uint32_t br_i62_modpow_opt(uint32_t *x31, const unsigned char *e, size_t e_len, const uint32_t *m31, uint32_t m0i31,
    uint64_t *tmp, size_t tmp_count);
uint32_t br_i62_modpow_opt(uint32_t *x31, const unsigned char *e, size_t e_len, const uint32_t *m31, uint32_t m0i31,
    uint64_t *tmp, size_t tmp_count) {
    (void)m0i31;
    (void)tmp;
    (void)tmp_count;
    size_t bits = 31 * (m31[0] >> 5) + (m31[0] & 31), count = (bits + 255) / 256 * 4;
    if (bits == 0 || count > WORDS_MAX) {
        return 0; /* a factor of a private key that is none */
    }
    if (count < WORDS_MIN) {
        count = WORDS_MIN;
    }
    multiply_t *multiply = multiplication();
    number_t n, x, power, chosen, table[1 << WINDOW_BITS];
    unpack(n, count, m31);
    unpack(x, count, x31);
    uint64_t inverse = n[0]; /* right in three bits, and in twice as many after each step (Newton) */
    for (int i = 0; i < 5; i++) {
        inverse *= 2 - n[0] * inverse;
    }
    const uint64_t n0[2] = {-inverse, 0};

    /* With R = 2**(64 * count): R modulo n from a power of two below n by doubling. */
    memset(power, 0, count * sizeof(uint64_t));
    power[(bits - 1) / 64] = 1ull << (bits - 1) % 64;
    for (size_t i = bits - 1; i < 64 * count; i++) {
        twice(power, n, count);
    }
    memcpy(table[0], power, count * sizeof(uint64_t));
    /* R * 2**k for the odd part k of 64 * count; each square doubles the exponent, up to R * R. */
    size_t exponent = 64 * count;
    while (!(exponent & 1)) {
        exponent >>= 1;
    }
    for (size_t i = 0; i < exponent; i++) {
        twice(power, n, count);
    }
    for (; exponent < 64 * count; exponent <<= 1) {
        multiply(power, power, power, n, n0, count);
    }
    multiply(table[1], x, power, n, n0, count);
    for (size_t i = 2; i < 1 << WINDOW_BITS; i++) {
        multiply(table[i], table[i - 1], table[1], n, n0, count);
    }

    memcpy(power, table[0], count * sizeof(uint64_t));
    for (size_t i = 0; i < 2 * e_len; i++) {
        for (int square = 0; square < WINDOW_BITS; square++) {
            multiply(power, power, power, n, n0, count);
        }
        uint64_t digit = i & 1 ? e[i / 2] & 15 : e[i / 2] >> 4;
        memset(chosen, 0, count * sizeof(uint64_t));
        for (uint64_t entry = 0; entry < 1 << WINDOW_BITS; entry++) {
            uint64_t mask = -(((entry ^ digit) - 1) >> 63);
            for (size_t word = 0; word < count; word++) {
                chosen[word] |= mask & table[entry][word];
            }
        }
        multiply(power, power, chosen, n, n0, count);
    }
    memset(chosen, 0, count * sizeof(uint64_t));
    chosen[0] = 1;
    multiply(power, power, chosen, n, n0, count);
    pack(x31, power, count);
    return 1;
}
