/* SPDX-License-Identifier: MIT */
/* mod_p384.c: the module _p384: public keys and signatures over P-384 (FIPS 186-5). */

#include "crypto_ecdsa.h"

#include "Hacl_P384.h"

#define BYTES 48
#define STACK_BYTES 12288


static const uint8_t order[BYTES] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf,
    0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
};

static const ecdsa_curve_t curve = {BYTES, STACK_BYTES, order, Hacl_P384_ecdsa_sign_p384_without_hash};

/* public(scalar) -> 97 octets: the point, uncompressed; ValueError for zero, and from the order on */
static mp_obj_t p384_public(mp_obj_t scalar_in) {
    const uint8_t *scalar = crypto_octets(scalar_in, BYTES);
    crypto_need_stack(STACK_BYTES);
    uint8_t point[1 + 2 * BYTES];
    point[0] = 4;
    bool is_good = Hacl_P384_dh_initiator(point + 1, (uint8_t *)scalar);
    crypto_burn(STACK_BYTES);
    if (!is_good) {
        crypto_raise(MP_ERROR_TEXT("key"));
    }
    return mp_obj_new_bytes(point, sizeof(point));
}
static MP_DEFINE_CONST_FUN_OBJ_1(p384_public_obj, p384_public);

/* sign(scalar, digest, extra) -> DER. extra: up to 64 octets, random ones or none (RFC 6979) */
static mp_obj_t p384_sign(mp_obj_t scalar, mp_obj_t digest, mp_obj_t extra) {
    return ecdsa_sign(&curve, scalar, digest, extra);
}
static MP_DEFINE_CONST_FUN_OBJ_3(p384_sign_obj, p384_sign);

static const mp_rom_map_elem_t p384_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__p384)},
    {MP_ROM_QSTR(MP_QSTR_public), MP_ROM_PTR(&p384_public_obj)},
    {MP_ROM_QSTR(MP_QSTR_sign), MP_ROM_PTR(&p384_sign_obj)},
};
static MP_DEFINE_CONST_DICT(p384_globals, p384_table);
const mp_obj_module_t mp_module__p384 = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&p384_globals};
MP_REGISTER_MODULE(MP_QSTR__p384, mp_module__p384);
