/* SPDX-License-Identifier: MIT */
/* crypto_rsa.h: RSA's paddings (RFC 8017), and its public operation. */
#ifndef MIRAGE_CRYPTO_RSA_H
#define MIRAGE_CRYPTO_RSA_H

#include "crypto.h"

#include "bearssl_rsa.h"

#define RSA_BITS_MIN 1024
#define RSA_BYTES_MAX 512
#define RSA_STACK_BYTES 20480

/* Bits of the modulus, whose leading zeros are taken away; 0 where it is too short, too long or even. */
size_t rsa_modulus_bits(mp_buffer_info_t *modulus);

/* The padded digest, as long as the modulus; false where it is too short. */
bool rsa_pad_pkcs1(uint8_t *padded, size_t bits, const mp_buffer_info_t *digest);
/* salt: as long as the digest. */
bool rsa_pad_pss(uint8_t *padded, size_t bits, const mp_buffer_info_t *digest, const uint8_t *salt);
/* Whether they are a digest so padded; the octets are changed. The salt must be as long as the digest (RFC 8446). */
bool rsa_check_pss(uint8_t *padded, size_t bits, const mp_buffer_info_t *digest);

#endif
