/* SPDX-License-Identifier: MIT */
/* mod_p256.c: the module _p256: public keys and signatures over P-256 (FIPS 186-5). */

#include "crypto_ecdsa.h"

#include "Hacl_P256.h"

#define BYTES 32
#define STACK_BYTES 8192


static const uint8_t order[BYTES] = {
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
};

static const ecdsa_curve_t curve = {BYTES, STACK_BYTES, order, Hacl_P256_ecdsa_sign_p256_without_hash};

/* public(scalar) -> 65 octets: the point, uncompressed; ValueError for zero, and from the order on */
static mp_obj_t p256_public(mp_obj_t scalar_in) {
    const uint8_t *scalar = crypto_octets(scalar_in, BYTES);
    crypto_need_stack(STACK_BYTES);
    uint8_t point[1 + 2 * BYTES];
    point[0] = 4;
    bool is_good = Hacl_P256_dh_initiator(point + 1, (uint8_t *)scalar);
    crypto_burn(STACK_BYTES);
    if (!is_good) {
        crypto_raise(MP_ERROR_TEXT("key"));
    }
    return mp_obj_new_bytes(point, sizeof(point));
}
static MP_DEFINE_CONST_FUN_OBJ_1(p256_public_obj, p256_public);

/* sign(scalar, digest, extra) -> DER. extra: up to 64 octets, random ones or none (RFC 6979) */
static mp_obj_t p256_sign(mp_obj_t scalar, mp_obj_t digest, mp_obj_t extra) {
    return ecdsa_sign(&curve, scalar, digest, extra);
}
static MP_DEFINE_CONST_FUN_OBJ_3(p256_sign_obj, p256_sign);

static const mp_rom_map_elem_t p256_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__p256)},
    {MP_ROM_QSTR(MP_QSTR_public), MP_ROM_PTR(&p256_public_obj)},
    {MP_ROM_QSTR(MP_QSTR_sign), MP_ROM_PTR(&p256_sign_obj)},
};
static MP_DEFINE_CONST_DICT(p256_globals, p256_table);
const mp_obj_module_t mp_module__p256 = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&p256_globals};
MP_REGISTER_MODULE(MP_QSTR__p256, mp_module__p256);
