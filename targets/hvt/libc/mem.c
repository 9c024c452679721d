/* SPDX-License-Identifier: MIT */
/*
 * mem.c: memcpy and its kin, with 16-byte SSE moves. Not `rep movsb`, which QEMU's TCG executes octet by octet.
 */
#include <stdint.h>
#include <string.h>

#pragma GCC optimize("no-tree-loop-distribute-patterns") /* or a loop here becomes a call of itself */

typedef long long v16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t v8 __attribute__((aligned(1), may_alias));
typedef uint32_t v4 __attribute__((aligned(1), may_alias));
typedef uint16_t v2 __attribute__((aligned(1), may_alias));

/* Up to 16 octets: all loads come before the first store, so overlap does not matter. */
static inline void move_small(char *to, const char *from, size_t n) {
    if (n >= 8) {
        uint64_t head = *(const v8 *)from, tail = *(const v8 *)(from + n - 8);
        *(v8 *)to = head;
        *(v8 *)(to + n - 8) = tail;
    } else if (n >= 4) {
        uint32_t head = *(const v4 *)from, tail = *(const v4 *)(from + n - 4);
        *(v4 *)to = head;
        *(v4 *)(to + n - 4) = tail;
    } else if (n >= 2) {
        uint16_t head = *(const v2 *)from, tail = *(const v2 *)(from + n - 2);
        *(v2 *)to = head;
        *(v2 *)(to + n - 2) = tail;
    } else if (n == 1) {
        *to = *from;
    }
}

void *memmove(void *destination, const void *source, size_t n) {
    char *to = destination;
    const char *from = source;
    if (n <= 16) {
        move_small(to, from, n);
        return to;
    }
    if (to == from) {
        return to; /* a slice of a bytearray assigned moves its unchanged end onto itself */
    }
    if ((size_t)(to - from) >= n) { /* forwards is safe: `to` is below `from`, or beyond its end */
        v16 tail = *(const v16 *)(from + n - 16);
        char *last = to + n - 16;
        for (; n >= 64; n -= 64, to += 64, from += 64) {
            const v16 *block = (const v16 *)from;
            v16 a = block[0], b = block[1], c = block[2], d = block[3];
            ((v16 *)to)[0] = a;
            ((v16 *)to)[1] = b;
            ((v16 *)to)[2] = c;
            ((v16 *)to)[3] = d;
        }
        for (; n > 16; n -= 16, to += 16, from += 16) {
            *(v16 *)to = *(const v16 *)from;
        }
        *(v16 *)last = tail;
    } else {
        v16 head = *(const v16 *)from;
        for (; n > 16; n -= 16) {
            *(v16 *)(to + n - 16) = *(const v16 *)(from + n - 16);
        }
        *(v16 *)to = head;
    }
    return destination;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) __attribute__((alias("memmove")));

void *memset(void *destination, int value, size_t n) {
    char *to = destination;
    uint64_t word = 0x0101010101010101u * (uint8_t)value;
    if (n < 16) {
        if (n >= 8) {
            *(v8 *)to = word;
            *(v8 *)(to + n - 8) = word;
        } else if (n >= 4) {
            *(v4 *)to = (uint32_t)word;
            *(v4 *)(to + n - 4) = (uint32_t)word;
        } else {
            for (size_t i = 0; i < n; i++) {
                to[i] = (char)value;
            }
        }
        return destination;
    }
    v16 block = {(long long)word, (long long)word};
    char *last = to + n - 16;
    for (; n >= 64; n -= 64, to += 64) {
        ((v16 *)to)[0] = block;
        ((v16 *)to)[1] = block;
        ((v16 *)to)[2] = block;
        ((v16 *)to)[3] = block;
    }
    for (; n > 16; n -= 16, to += 16) {
        *(v16 *)to = block;
    }
    *(v16 *)last = block;
    return destination;
}

int memcmp(const void *left, const void *right, size_t n) {
    const uint8_t *a = left, *b = right;
    for (; n >= 8; n -= 8, a += 8, b += 8) {
        if (*(const v8 *)a != *(const v8 *)b) {
            break;
        }
    }
    for (; n > 0; n--, a++, b++) {
        if (*a != *b) {
            return *a - *b;
        }
    }
    return 0;
}
