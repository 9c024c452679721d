/* SPDX-License-Identifier: MIT */
#ifndef HVT_STDLIB_H
#define HVT_STDLIB_H
#include <stddef.h>
#define EXIT_SUCCESS 0
#define EXIT_FAILURE 1
#define abs(n) __builtin_abs(n)
#define labs(n) __builtin_labs(n)
__attribute__((noreturn)) void exit(int code);
__attribute__((noreturn)) void abort(void);
#endif
