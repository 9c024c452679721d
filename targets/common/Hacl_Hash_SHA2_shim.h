/* SPDX-License-Identifier: MIT */
/* Hacl_Hash_SHA2_shim.h: the SHA-512 that NSS's Hacl_Ed25519.c asks for by these names, from BearSSL in place of NSS. */
#ifndef MIRAGE_HACL_HASH_SHA2_SHIM_H
#define MIRAGE_HACL_HASH_SHA2_SHIM_H

#include <stdint.h>

#include "bearssl_hash.h"

static void sha512_pre_pre2_msg(uint8_t *hash, uint8_t *first, uint8_t *second, uint32_t len, uint8_t *rest) {
    br_sha512_context context;
    br_sha512_init(&context);
    br_sha512_update(&context, first, 32);
    if (second != NULL) {
        br_sha512_update(&context, second, 32);
    }
    br_sha512_update(&context, rest, len);
    br_sha512_out(&context, hash);
}

static void sha512_pre_msg(uint8_t *hash, uint8_t *first, uint32_t len, uint8_t *rest) {
    sha512_pre_pre2_msg(hash, first, NULL, len, rest);
}

static void Hacl_Streaming_SHA2_hash_512(uint8_t *data, uint32_t len, uint8_t *hash) {
    br_sha512_context context;
    br_sha512_init(&context);
    br_sha512_update(&context, data, len);
    br_sha512_out(&context, hash);
}

#endif
