/* SPDX-License-Identifier: MIT */
/*
 * string.c: the part of <string.h> that MicroPython and mbedTLS use (C17, 7.24).
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

size_t strnlen(const char *s, size_t max) {
    size_t n = 0;
    while (n < max && s[n] != 0) {
        n++;
    }
    return n;
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

char *strrchr(const char *s, int c) {
    const char *found = NULL;
    for (;; s++) {
        if (*s == (char)c) {
            found = s;
        }
        if (*s == 0) {
            return (char *)found;
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

char *strcpy(char *restrict to, const char *restrict from) {
    memcpy(to, from, strlen(from) + 1);
    return to;
}

char *strncpy(char *restrict to, const char *restrict from, size_t n) {
    size_t len = strnlen(from, n);
    memcpy(to, from, len);
    memset(to + len, 0, n - len);
    return to;
}

char *strcat(char *restrict to, const char *restrict from) {
    strcpy(to + strlen(to), from);
    return to;
}
