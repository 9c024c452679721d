/* SPDX-License-Identifier: MIT */
/* mod_x25519.c: the module _x25519 (RFC 7748). */

#include "crypto.h"

#include "Hacl_Curve25519_51.h"

#define BYTES 32
#define STACK_BYTES 2048

/* public(scalar) -> 32 octets */
static mp_obj_t x25519_public(mp_obj_t scalar_in) {
    const uint8_t *scalar = crypto_octets(scalar_in, BYTES);
    uint8_t point[BYTES];
    Hacl_Curve25519_51_secret_to_public(point, (uint8_t *)scalar);
    crypto_burn(STACK_BYTES);
    return mp_obj_new_bytes(point, BYTES);
}
static MP_DEFINE_CONST_FUN_OBJ_1(x25519_public_obj, x25519_public);

/* agree(scalar, share) -> 32 octets; ValueError where the result is zero: a point of low order (section 6.1) */
static mp_obj_t x25519_agree(mp_obj_t scalar_in, mp_obj_t share_in) {
    const uint8_t *scalar = crypto_octets(scalar_in, BYTES);
    const uint8_t *share = crypto_octets(share_in, BYTES);
    vstr_t secret; /* before there is one: no secret is left where no memory is */
    vstr_init_len(&secret, BYTES);
    bool is_good = Hacl_Curve25519_51_ecdh((uint8_t *)secret.buf, (uint8_t *)scalar, (uint8_t *)share);
    crypto_burn(STACK_BYTES);
    if (!is_good) {
        crypto_raise(MP_ERROR_TEXT("share"));
    }
    return mp_obj_new_bytes_from_vstr(&secret);
}
static MP_DEFINE_CONST_FUN_OBJ_2(x25519_agree_obj, x25519_agree);

static const mp_rom_map_elem_t x25519_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__x25519)},
    {MP_ROM_QSTR(MP_QSTR_public), MP_ROM_PTR(&x25519_public_obj)},
    {MP_ROM_QSTR(MP_QSTR_agree), MP_ROM_PTR(&x25519_agree_obj)},
};
static MP_DEFINE_CONST_DICT(x25519_globals, x25519_table);
const mp_obj_module_t mp_module__x25519 = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&x25519_globals};
MP_REGISTER_MODULE(MP_QSTR__x25519, mp_module__x25519);
