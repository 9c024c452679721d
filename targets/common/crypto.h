/* SPDX-License-Identifier: MIT */
/*
 * crypto.h: what the C modules of cryptography share. Secrets are on the C stack while a primitive works: whoever calls one
 * burns that part of the stack afterwards, and wipes what it had of its own.
 */
#ifndef MIRAGE_CRYPTO_H
#define MIRAGE_CRYPTO_H

#include <stdbool.h>
#include <string.h>

#include "py/obj.h"
#include "py/runtime.h"

#include "krml.h" /* before any header of HACL* */

/* The compiler must take it that somebody reads the zeros. */
static inline void crypto_wipe(void *data, size_t len_bytes) {
    memset(data, 0, len_bytes);
    __asm__ volatile("" : : "r"(data) : "memory");
}

/* What may be left of a call that needed up to so much of the stack, at the stack's depth of the caller. */
void crypto_burn(size_t len_bytes);
/* RuntimeError, as for a recursion too deep, where less than so much is left of the stack. */
void crypto_need_stack(size_t len_bytes);

/* Octets of a buffer; those of `crypto_octets` are exactly so many, else ValueError. */
const uint8_t *crypto_octets(mp_obj_t object, size_t len_bytes);
void crypto_buffer(mp_obj_t object, mp_buffer_info_t *info);

/* The hash with a digest of so many octets (32, 48, 64), and its digest of the data; ValueError for another length. */
struct br_hash_class_;
const struct br_hash_class_ *crypto_hash(size_t digest_bytes);

__attribute__((noreturn)) void crypto_raise(mp_rom_error_text_t what);

#endif
