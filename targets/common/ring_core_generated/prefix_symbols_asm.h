/* SPDX-License-Identifier: MIT */
/* prefix_symbols_asm.h: what ring makes when it is built, to have its names to itself. Nobody else has them here. */
