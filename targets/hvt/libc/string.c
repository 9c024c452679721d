/* SPDX-License-Identifier: MIT */
/*
 * string.c: the part of <string.h> that MicroPython and mbedTLS use (C17, 7.24); mem.c has the rest.
 */
#include <string.h>

#pragma GCC optimize("no-tree-loop-distribute-patterns") /* or a loop here becomes a call of itself */

size_t strlen(const char *s) {
    const char *p = s;
    while (*p != 0) {
        p++;
    }
    return (size_t)(p - s);
}

int strncmp(const char *a, const char *b, size_t n) {
    for (; n > 0; n--, a++, b++) {
        if (*a != *b || *a == 0) {
            return (unsigned char)*a - (unsigned char)*b;
        }
    }
    return 0;
}

int strcmp(const char *a, const char *b) {
    return strncmp(a, b, (size_t)-1);
}

char *strchr(const char *s, int c) {
    for (;; s++) {
        if (*s == (char)c) {
            return (char *)s;
        }
        if (*s == 0) {
            return NULL;
        }
    }
}

char *strstr(const char *text, const char *wanted) {
    size_t n = strlen(wanted);
    for (;; text++) {
        if (strncmp(text, wanted, n) == 0) {
            return (char *)text;
        }
        if (*text == 0) {
            return NULL;
        }
    }
}
