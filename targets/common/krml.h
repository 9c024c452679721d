/* SPDX-License-Identifier: MIT */
/* krml.h: read before each file of HACL* and libcrux: what their configuration would say, and what no C library is asked for. */
#ifndef MIRAGE_KRML_H
#define MIRAGE_KRML_H

/* The machine's add and subtract with carry: half of the time, and what the compiler makes of C is not its to choose. */
#define HACL_CAN_COMPILE_INTRINSICS 1

/* Loops over the five words of Curve25519 and the four of P-256 are unrolled, and no longer ones: half of the octets. */
#define KRML_UNROLL_MAX 5

/* Inlined always, as they ask for it, ML-KEM would be a megabyte (docs/decisions/0017-primitives.md). */
#define KRML_MUSTINLINE inline

/* An array index beyond the end, which their proofs exclude. */
#define KRML_HOST_EPRINTF(...) ((void)0)
#define KRML_HOST_EXIT(code) __builtin_trap()

#endif
