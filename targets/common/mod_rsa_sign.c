/* SPDX-License-Identifier: MIT */
/* mod_rsa_sign.c: the module _rsa_sign: a private key, and signatures by it (RFC 8017). */

#include "crypto_rsa.h"

/* In the order of the constructor's arguments, which is that of PKCS#1. */
enum { N, E, D, P, Q, DP, DQ, QI, COUNT };

typedef struct {
    mp_obj_base_t base;
    size_t bits;
    uint16_t len[COUNT];
    size_t octets_len;
    uint8_t octets[]; /* the numbers, one behind the other */
} rsa_key_t;

/* padded -> signature, and whether it is one: a fault in one half of the computation would give the key away. */
static bool operate(const rsa_key_t *self, uint8_t *padded) {
    uint8_t *number[COUNT], *at = (uint8_t *)self->octets;
    for (int i = 0; i < COUNT; i++) {
        number[i] = at;
        at += self->len[i];
    }
    br_rsa_private_key key = {
        (uint32_t)self->bits, number[P], self->len[P], number[Q], self->len[Q], number[DP], self->len[DP], number[DQ],
        self->len[DQ], number[QI], self->len[QI],
    };
    br_rsa_public_key public_key = {number[N], self->len[N], number[E], self->len[E]};
    uint8_t check[RSA_BYTES_MAX];
    uint32_t is_good = br_rsa_i62_private(padded, &key);
    memcpy(check, padded, self->len[N]);
    is_good &= br_rsa_i62_public(check, self->len[N], &public_key);
    crypto_burn(RSA_STACK_BYTES);
    memcpy(padded + RSA_BYTES_MAX, check, self->len[N]);
    return is_good != 0;
}

/* Key(n, e, d, p, q, dp, dq, qi): octets each; ValueError where they are no key of 1024 to 4096 bits */
static mp_obj_t key_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, COUNT, COUNT, false);
    mp_buffer_info_t info[COUNT];
    size_t total = 0;
    for (int i = 0; i < COUNT; i++) {
        crypto_buffer(args[i], &info[i]);
        if (i == D) {
            info[i].len = 0; /* the others say the same, and are faster */
        }
        if (info[i].len > RSA_BYTES_MAX + 1) {
            crypto_raise(MP_ERROR_TEXT("key"));
        }
        total += info[i].len;
    }
    size_t bits = rsa_modulus_bits(&info[N]);
    if (bits == 0) {
        crypto_raise(MP_ERROR_TEXT("key"));
    }
    crypto_need_stack(RSA_STACK_BYTES + 2 * RSA_BYTES_MAX);
    rsa_key_t *self = m_malloc(sizeof(rsa_key_t) + total);
    self->base.type = type;
    self->bits = bits;
    self->octets_len = total;
    uint8_t *at = self->octets;
    for (int i = 0; i < COUNT; i++) {
        self->len[i] = (uint16_t)info[i].len;
        memcpy(at, info[i].buf, info[i].len);
        at += info[i].len;
    }
    /* A number below the modulus, to and fro. */
    uint8_t padded[2 * RSA_BYTES_MAX];
    memset(padded, 0x55, sizeof(padded));
    padded[0] = 0;
    bool is_good = operate(self, padded);
    const uint8_t *back = padded + RSA_BYTES_MAX;
    is_good = is_good && back[0] == 0;
    for (size_t i = 1; i < self->len[N]; i++) {
        is_good = is_good && back[i] == 0x55;
    }
    crypto_wipe(padded, sizeof(padded));
    if (!is_good) {
        crypto_wipe(self->octets, total);
        crypto_raise(MP_ERROR_TEXT("key"));
    }
    return MP_OBJ_FROM_PTR(self);
}

/* sign(digest, salt) -> octets. salt: as long as the digest, for PSS; None: PKCS#1 v1.5 */
static mp_obj_t key_sign(mp_obj_t self_in, mp_obj_t digest_in, mp_obj_t salt) {
    rsa_key_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->octets_len == 0) {
        crypto_raise(MP_ERROR_TEXT("wiped"));
    }
    mp_buffer_info_t digest;
    crypto_buffer(digest_in, &digest);
    crypto_need_stack(RSA_STACK_BYTES + 3 * RSA_BYTES_MAX);
    uint8_t padded[2 * RSA_BYTES_MAX], expected[RSA_BYTES_MAX];
    bool fits = salt == mp_const_none ? rsa_pad_pkcs1(padded, self->bits, &digest)
                                      : rsa_pad_pss(padded, self->bits, &digest, crypto_octets(salt, digest.len));
    if (!fits) {
        crypto_raise(MP_ERROR_TEXT("key"));
    }
    memcpy(expected, padded, self->len[N]);
    if (!operate(self, padded) || memcmp(expected, padded + RSA_BYTES_MAX, self->len[N]) != 0) {
        crypto_wipe(padded, sizeof(padded));
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("RSA went wrong"));
    }
    return mp_obj_new_bytes(padded, self->len[N]);
}
static MP_DEFINE_CONST_FUN_OBJ_3(key_sign_obj, key_sign);

static mp_obj_t key_wipe(mp_obj_t self_in) {
    rsa_key_t *self = MP_OBJ_TO_PTR(self_in);
    crypto_wipe(self->octets, self->octets_len);
    self->octets_len = 0;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(key_wipe_obj, key_wipe);

static const mp_rom_map_elem_t key_locals_table[] = {
    {MP_ROM_QSTR(MP_QSTR_sign), MP_ROM_PTR(&key_sign_obj)},
    {MP_ROM_QSTR(MP_QSTR_wipe), MP_ROM_PTR(&key_wipe_obj)},
};
static MP_DEFINE_CONST_DICT(key_locals, key_locals_table);
static MP_DEFINE_CONST_OBJ_TYPE(
    type_key, MP_QSTR_Key, MP_TYPE_FLAG_NONE, make_new, key_make_new, locals_dict, &key_locals);

static const mp_rom_map_elem_t rsa_sign_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__rsa_sign)},
    {MP_ROM_QSTR(MP_QSTR_Key), MP_ROM_PTR(&type_key)},
};
static MP_DEFINE_CONST_DICT(rsa_sign_globals, rsa_sign_table);
const mp_obj_module_t mp_module__rsa_sign = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&rsa_sign_globals};
MP_REGISTER_MODULE(MP_QSTR__rsa_sign, mp_module__rsa_sign);
