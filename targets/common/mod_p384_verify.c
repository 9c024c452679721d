/* SPDX-License-Identifier: MIT */
/* mod_p384_verify.c: the module _p384_verify: signatures over P-384 verified (FIPS 186-5, section 6.4.2). */

#include "crypto_ecdsa.h"

#include "Hacl_P384.h"

#define BYTES 48
#define STACK_BYTES 12288


/* verify(point, digest, signature) -> bool; False for what is no point or not DER */
static mp_obj_t p384_verify_verify(mp_obj_t point_in, mp_obj_t digest_in, mp_obj_t signature_in) {
    mp_buffer_info_t point, digest, signature;
    crypto_buffer(point_in, &point);
    crypto_buffer(digest_in, &digest);
    crypto_buffer(signature_in, &signature);
    uint8_t numbers[2 * BYTES], number[BYTES];
    const uint8_t *octets = point.buf;
    if (point.len != 1 + 2 * BYTES || octets[0] != 4 || !ecdsa_parse(numbers, BYTES, &signature)) {
        return mp_const_false;
    }
    ecdsa_fit(number, BYTES, &digest);
    crypto_need_stack(STACK_BYTES);
    return mp_obj_new_bool(
        Hacl_P384_ecdsa_verif_without_hash(BYTES, number, (uint8_t *)octets + 1, numbers, numbers + BYTES));
}
static MP_DEFINE_CONST_FUN_OBJ_3(p384_verify_verify_obj, p384_verify_verify);

static const mp_rom_map_elem_t p384_verify_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__p384_verify)},
    {MP_ROM_QSTR(MP_QSTR_verify), MP_ROM_PTR(&p384_verify_verify_obj)},
};
static MP_DEFINE_CONST_DICT(p384_verify_globals, p384_verify_table);
const mp_obj_module_t mp_module__p384_verify = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&p384_verify_globals};
MP_REGISTER_MODULE(MP_QSTR__p384_verify, mp_module__p384_verify);
