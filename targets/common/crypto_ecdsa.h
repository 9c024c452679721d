/* SPDX-License-Identifier: MIT */
/* crypto_ecdsa.h: what ECDSA needs beside the curve: nonces, and signatures as DER. */
#ifndef MIRAGE_CRYPTO_ECDSA_H
#define MIRAGE_CRYPTO_ECDSA_H

#include "crypto.h"

#define ECDSA_BYTES_MAX 48

typedef struct {
    size_t len_bytes; /* of a coordinate, of the order */
    size_t stack_bytes; /* what signing needs of the stack */
    const uint8_t *order;
    /* As HACL* has it: signature r || s; false where the nonce or the key is not between 0 and the order. */
    bool (*sign)(uint8_t *signature, uint32_t len, uint8_t *digest, uint8_t *scalar, uint8_t *nonce);
} ecdsa_curve_t;

/* sign(scalar, digest, extra) -> DER. ValueError for a scalar that is none. */
mp_obj_t ecdsa_sign(const ecdsa_curve_t *curve, mp_obj_t scalar, mp_obj_t digest, mp_obj_t extra);

/* The digest as a number of the curve's length: its leftmost bits, or zeros before it. */
void ecdsa_fit(uint8_t *number, size_t len_bytes, const mp_buffer_info_t *digest);

/* r || s of a signature; false where it is not DER, or a number is negative or too long. */
bool ecdsa_parse(uint8_t *numbers, size_t len_bytes, const mp_buffer_info_t *der);

#endif
