/* SPDX-License-Identifier: MIT */
#ifndef HVT_ALLOCA_H
#define HVT_ALLOCA_H
#define alloca(len_bytes) __builtin_alloca(len_bytes)
#endif
