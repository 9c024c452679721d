/* SPDX-License-Identifier: MIT */
/* mod_ed25519.c: the module _ed25519: signatures over edwards25519 (RFC 8032). */

#include "crypto.h"

#include "Hacl_Ed25519.h"

#define BYTES 32
#define STACK_BYTES 12288


/* public(seed) -> 32 octets */
static mp_obj_t ed25519_public(mp_obj_t seed_in) {
    const uint8_t *seed = crypto_octets(seed_in, BYTES);
    crypto_need_stack(STACK_BYTES);
    uint8_t point[BYTES];
    Hacl_Ed25519_secret_to_public(point, (uint8_t *)seed);
    crypto_burn(STACK_BYTES);
    return mp_obj_new_bytes(point, BYTES);
}
static MP_DEFINE_CONST_FUN_OBJ_1(ed25519_public_obj, ed25519_public);

/* sign(seed, message) -> 64 octets */
static mp_obj_t ed25519_sign(mp_obj_t seed_in, mp_obj_t message_in) {
    const uint8_t *seed = crypto_octets(seed_in, BYTES);
    mp_buffer_info_t message;
    crypto_buffer(message_in, &message);
    crypto_need_stack(STACK_BYTES);
    uint8_t signature[2 * BYTES];
    Hacl_Ed25519_sign(signature, (uint8_t *)seed, (uint32_t)message.len, message.buf);
    crypto_burn(STACK_BYTES);
    return mp_obj_new_bytes(signature, sizeof(signature));
}
static MP_DEFINE_CONST_FUN_OBJ_2(ed25519_sign_obj, ed25519_sign);

/* verify(point, message, signature) -> bool */
static mp_obj_t ed25519_verify(mp_obj_t point_in, mp_obj_t message_in, mp_obj_t signature_in) {
    mp_buffer_info_t point, message, signature;
    crypto_buffer(point_in, &point);
    crypto_buffer(message_in, &message);
    crypto_buffer(signature_in, &signature);
    if (point.len != BYTES || signature.len != 2 * BYTES) {
        return mp_const_false;
    }
    crypto_need_stack(STACK_BYTES);
    return mp_obj_new_bool(Hacl_Ed25519_verify(point.buf, (uint32_t)message.len, message.buf, signature.buf));
}
static MP_DEFINE_CONST_FUN_OBJ_3(ed25519_verify_obj, ed25519_verify);

static const mp_rom_map_elem_t ed25519_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__ed25519)},
    {MP_ROM_QSTR(MP_QSTR_public), MP_ROM_PTR(&ed25519_public_obj)},
    {MP_ROM_QSTR(MP_QSTR_sign), MP_ROM_PTR(&ed25519_sign_obj)},
    {MP_ROM_QSTR(MP_QSTR_verify), MP_ROM_PTR(&ed25519_verify_obj)},
};
static MP_DEFINE_CONST_DICT(ed25519_globals, ed25519_table);
const mp_obj_module_t mp_module__ed25519 = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&ed25519_globals};
MP_REGISTER_MODULE(MP_QSTR__ed25519, mp_module__ed25519);
