/* SPDX-License-Identifier: MIT */
/* printf and its kin come from MicroPython's shared/libc/printf.c. There are no files. */
#ifndef HVT_STDIO_H
#define HVT_STDIO_H
#include <stdarg.h>
#include <stddef.h>
typedef struct FILE FILE; /* headers of HACL* name it */
#define EOF (-1)
#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
int printf(const char *restrict format, ...) __attribute__((format(printf, 1, 2)));
int vprintf(const char *restrict format, va_list args);
__attribute__((format(printf, 3, 4)))
int snprintf(char *restrict to, size_t len_bytes, const char *restrict format, ...);
int vsnprintf(char *restrict to, size_t len_bytes, const char *restrict format, va_list args);
int puts(const char *s);
int putchar(int c);
#endif
