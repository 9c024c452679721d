/* SPDX-License-Identifier: MIT */
/* crypto_ecdsa.c: nonces (RFC 6979), and DER (RFC 3279 section 2.2.3), for the modules of curves. */

#include "crypto_ecdsa.h"

#include "bearssl_rand.h"

#define ATTEMPTS 64 /* each fails once in 2**32 at most */

void ecdsa_fit(uint8_t *number, size_t len_bytes, const mp_buffer_info_t *digest) {
    crypto_hash(digest->len); /* a ValueError where it is none */
    memset(number, 0, len_bytes);
    if (digest->len >= len_bytes) {
        memcpy(number, digest->buf, len_bytes);
    } else {
        memcpy(number + len_bytes - digest->len, digest->buf, digest->len);
    }
}

/* a -= b where a is not less: a digest, which is no secret, modulo the order, which its leading bit brings within twice. */
static void reduce(uint8_t *a, const uint8_t *b, size_t len_bytes) {
    if (memcmp(a, b, len_bytes) < 0) {
        return;
    }
    int borrow = 0;
    for (size_t i = len_bytes; i-- != 0;) {
        int digit = a[i] - b[i] - borrow;
        borrow = digit < 0;
        a[i] = (uint8_t)digit;
    }
}

static size_t emit_integer(uint8_t *to, const uint8_t *number, size_t len_bytes) {
    while (len_bytes > 1 && number[0] == 0) {
        number++;
        len_bytes--;
    }
    size_t sign = number[0] >> 7;
    to[0] = 0x02;
    to[1] = (uint8_t)(len_bytes + sign);
    to[2] = 0;
    memcpy(to + 2 + sign, number, len_bytes);
    return 2 + sign + len_bytes;
}

mp_obj_t ecdsa_sign(const ecdsa_curve_t *curve, mp_obj_t scalar_in, mp_obj_t digest_in, mp_obj_t extra_in) {
    const size_t len = curve->len_bytes;
    const uint8_t *scalar = crypto_octets(scalar_in, len);
    mp_buffer_info_t digest, extra;
    crypto_buffer(digest_in, &digest);
    crypto_buffer(extra_in, &extra);
    if (extra.len > 64) {
        crypto_raise(MP_ERROR_TEXT("length"));
    }
    crypto_need_stack(curve->stack_bytes);
    uint8_t number[ECDSA_BYTES_MAX];
    ecdsa_fit(number, len, &digest);

    /* RFC 6979, section 3.2, with what section 3.6 calls additional data: random numbers that fail do no harm. */
    uint8_t seed[2 * ECDSA_BYTES_MAX + 64];
    memcpy(seed, scalar, len);
    memcpy(seed + len, number, len);
    reduce(seed + len, curve->order, len);
    memcpy(seed + 2 * len, extra.buf, extra.len);
    br_hmac_drbg_context drbg;
    br_hmac_drbg_init(&drbg, crypto_hash(digest.len), seed, 2 * len + extra.len);
    uint8_t nonce[ECDSA_BYTES_MAX], signature[2 * ECDSA_BYTES_MAX];
    bool is_signed = false;
    for (int i = 0; i < ATTEMPTS && !is_signed; i++) {
        br_hmac_drbg_generate(&drbg, nonce, len);
        is_signed = curve->sign(signature, (uint32_t)len, number, (uint8_t *)scalar, nonce);
    }
    crypto_wipe(nonce, sizeof(nonce));
    crypto_wipe(seed, sizeof(seed));
    crypto_wipe(&drbg, sizeof(drbg));
    crypto_burn(curve->stack_bytes);
    if (!is_signed) {
        crypto_raise(MP_ERROR_TEXT("key"));
    }
    uint8_t der[2 * ECDSA_BYTES_MAX + 8];
    size_t at = 2;
    at += emit_integer(der + at, signature, len);
    at += emit_integer(der + at, signature + len, len);
    der[0] = 0x30;
    der[1] = (uint8_t)(at - 2); /* at most 2 * 51 */
    return mp_obj_new_bytes(der, at);
}

/* The octets of an integer behind `at` into `number`; where the next item begins, or 0. */
static size_t parse_integer(uint8_t *number, size_t len_bytes, const uint8_t *der, size_t at, size_t end) {
    if (end - at < 3 || der[at] != 0x02) {
        return 0;
    }
    size_t len = der[at + 1];
    at += 2;
    if (len == 0 || len > end - at) { /* a length of more octets would be above 127 and beyond the end */
        return 0;
    }
    size_t next = at + len;
    if (der[at] & 0x80) {
        return 0;
    }
    if (der[at] == 0 && len > 1) {
        if (!(der[at + 1] & 0x80)) {
            return 0; /* not the shortest */
        }
        at++;
        len--;
    }
    if (len > len_bytes) {
        return 0;
    }
    memset(number, 0, len_bytes - len);
    memcpy(number + len_bytes - len, der + at, len);
    return next;
}

bool ecdsa_parse(uint8_t *numbers, size_t len_bytes, const mp_buffer_info_t *info) {
    const uint8_t *der = info->buf;
    if (info->len < 8 || info->len > 127 + 2 || der[0] != 0x30 || der[1] != info->len - 2) {
        return false;
    }
    size_t at = parse_integer(numbers, len_bytes, der, 2, info->len);
    return at != 0 && parse_integer(numbers + len_bytes, len_bytes, der, at, info->len) == info->len;
}
