/* SPDX-License-Identifier: MIT */
/* MicroPython includes this for ssize_t and SEEK_*. */
#ifndef HVT_UNISTD_H
#define HVT_UNISTD_H
#include <stdio.h>
#include <sys/types.h>
#endif
