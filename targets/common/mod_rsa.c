/* SPDX-License-Identifier: MIT */
/* mod_rsa.c: the module _rsa: signatures verified, PKCS#1 v1.5 and PSS (RFC 8017). */

#include "crypto_rsa.h"

/*
 * verify(n, e, is_pss, digest, signature) -> bool; False also for a modulus of less than 1024 or more than 4096 bits, and for
 * an exponent that is even, below 3 or of more than 32 bits.
 */
static mp_obj_t rsa_verify(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t modulus, digest, signature;
    crypto_buffer(args[0], &modulus);
    crypto_buffer(args[3], &digest);
    crypto_buffer(args[4], &signature);
    size_t bits = rsa_modulus_bits(&modulus);
    if (bits == 0 || signature.len != modulus.len || !mp_obj_is_small_int(args[1])) {
        return mp_const_false;
    }
    mp_int_t e = MP_OBJ_SMALL_INT_VALUE(args[1]);
    if (e < 3 || e > 0xffffffff || !(e & 1)) {
        return mp_const_false;
    }
    crypto_need_stack(RSA_STACK_BYTES);
    uint8_t exponent[] = {(uint8_t)(e >> 24), (uint8_t)(e >> 16), (uint8_t)(e >> 8), (uint8_t)e};
    uint8_t padded[RSA_BYTES_MAX], expected[RSA_BYTES_MAX];
    memcpy(padded, signature.buf, signature.len);
    br_rsa_public_key key = {modulus.buf, modulus.len, exponent, sizeof(exponent)};
    if (!br_rsa_i62_public(padded, signature.len, &key)) {
        return mp_const_false; /* not below the modulus */
    }
    if (mp_obj_is_true(args[2])) {
        return mp_obj_new_bool(rsa_check_pss(padded, bits, &digest));
    }
    /* What it must be is compared, and nothing is parsed: there is nothing to be lenient about. */
    return mp_obj_new_bool(
        rsa_pad_pkcs1(expected, bits, &digest) && memcmp(expected, padded, signature.len) == 0);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(rsa_verify_obj, 5, 5, rsa_verify);

static const mp_rom_map_elem_t rsa_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__rsa)},
    {MP_ROM_QSTR(MP_QSTR_verify), MP_ROM_PTR(&rsa_verify_obj)},
};
static MP_DEFINE_CONST_DICT(rsa_globals, rsa_table);
const mp_obj_module_t mp_module__rsa = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&rsa_globals};
MP_REGISTER_MODULE(MP_QSTR__rsa, mp_module__rsa);
