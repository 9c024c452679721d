/* SPDX-License-Identifier: MIT */
/* crypto_rsa.c: RSA's paddings (RFC 8017), for the modules of RSA. */

#include "crypto_rsa.h"

/* Which BearSSL keeps for itself, in src/inner.h: data ^= the mask of a seed (section B.2.1). */
void br_mgf1_xor(void *data, size_t len, const br_hash_class *hash, const void *seed, size_t seed_len);

size_t rsa_modulus_bits(mp_buffer_info_t *modulus) {
    const uint8_t *octets = modulus->buf;
    size_t len = modulus->len;
    while (len != 0 && octets[0] == 0) {
        octets++;
        len--;
    }
    modulus->buf = (void *)octets;
    modulus->len = len;
    if (len == 0 || len > RSA_BYTES_MAX || !(octets[len - 1] & 1)) {
        return 0;
    }
    size_t bits = 8 * len - ((size_t)__builtin_clz(octets[0]) - 24);
    return bits < RSA_BITS_MIN ? 0 : bits;
}

bool rsa_pad_pkcs1(uint8_t *padded, size_t bits, const mp_buffer_info_t *digest) {
    /* DigestInfo: 2.16.840.1.101.3.4.2.x with NULL for parameters (section 9.2, note 1). */
    static const uint8_t info[] = {
        0x30, 0, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0, 0x05, 0x00, 0x04, 0,
    };
    crypto_hash(digest->len); /* a ValueError where it is none */
    size_t len = (bits + 7) / 8, tail = sizeof(info) + digest->len;
    if (len < tail + 11) {
        return false;
    }
    padded[0] = 0;
    padded[1] = 1;
    memset(padded + 2, 0xff, len - tail - 3);
    uint8_t *at = padded + len - tail;
    at[-1] = 0;
    memcpy(at, info, sizeof(info));
    at[1] = (uint8_t)(sizeof(info) - 2 + digest->len);
    at[14] = (uint8_t)(digest->len / 16 - 1); /* 32, 48, 64: 1, 2, 3 */
    at[18] = (uint8_t)digest->len;
    memcpy(at + sizeof(info), digest->buf, digest->len);
    return true;
}

/* Section 9.1.1, step 5: the hash of eight zeros, the digest and the salt. */
static void hash_salted(uint8_t *out, const mp_buffer_info_t *digest, const uint8_t *salt) {
    static const uint8_t zeros[8];
    br_hash_compat_context context;
    const br_hash_class *class = crypto_hash(digest->len);
    class->init(&context.vtable);
    class->update(&context.vtable, zeros, sizeof(zeros));
    class->update(&context.vtable, digest->buf, digest->len);
    class->update(&context.vtable, salt, digest->len);
    class->out(&context.vtable, out);
}

/* Where the encoded message begins: it has a bit less than the modulus. */
static size_t pss_start(size_t bits) {
    return (bits + 7) / 8 - (bits + 6) / 8;
}

static uint8_t pss_top(size_t bits) {
    return (uint8_t)(0xff >> (8 * ((bits + 6) / 8) - (bits - 1)));
}

bool rsa_pad_pss(uint8_t *padded, size_t bits, const mp_buffer_info_t *digest, const uint8_t *salt) {
    size_t start = pss_start(bits), len = (bits + 6) / 8, hash_len = digest->len;
    if (len < 2 * hash_len + 2) {
        return false;
    }
    memset(padded, 0, start + len);
    uint8_t *message = padded + start, *hash = message + len - hash_len - 1;
    size_t masked_len = len - hash_len - 1;
    hash_salted(hash, digest, salt);
    hash[hash_len] = 0xbc;
    hash[-1 - (ptrdiff_t)hash_len] = 0x01;
    memcpy(hash - hash_len, salt, hash_len);
    br_mgf1_xor(message, masked_len, crypto_hash(hash_len), hash, hash_len);
    message[0] &= pss_top(bits);
    return true;
}

bool rsa_check_pss(uint8_t *padded, size_t bits, const mp_buffer_info_t *digest) {
    size_t start = pss_start(bits), len = (bits + 6) / 8, hash_len = digest->len;
    crypto_hash(hash_len); /* a ValueError where it is none */
    uint8_t *message = padded + start, *hash = message + len - hash_len - 1;
    if (len < 2 * hash_len + 2 || (start != 0 && padded[0] != 0) || hash[hash_len] != 0xbc
        || (message[0] & ~pss_top(bits))) {
        return false;
    }
    size_t masked_len = len - hash_len - 1, zeros = masked_len - hash_len - 1;
    br_mgf1_xor(message, masked_len, crypto_hash(hash_len), hash, hash_len);
    message[0] &= pss_top(bits);
    for (size_t i = 0; i < zeros; i++) {
        if (message[i] != 0) {
            return false;
        }
    }
    if (message[zeros] != 0x01) {
        return false;
    }
    uint8_t expected[64];
    hash_salted(expected, digest, message + zeros + 1);
    return memcmp(expected, hash, hash_len) == 0;
}
