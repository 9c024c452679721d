/* SPDX-License-Identifier: MIT */
/* mod_mlkem768.c: the module _mlkem768: ML-KEM-768 (FIPS 203), the side that encapsulates. */

#include "crypto.h"

#include "internal/libcrux_core.h"
#include "libcrux_mlkem768_portable.h"

#define STACK_BYTES 65536


/*
 * encapsulate(key, noise) -> (ciphertext, secret): 1184 and 32 random octets to 1088 and 32. ValueError by the checks of
 * section 7.2.
 */
static mp_obj_t mlkem768_encapsulate(mp_obj_t key_in, mp_obj_t noise_in) {
    libcrux_ml_kem_types_MlKemPublicKey_15 key;
    memcpy(key.value, crypto_octets(key_in, sizeof(key.value)), sizeof(key.value));
    const uint8_t *noise = crypto_octets(noise_in, 32);
    crypto_need_stack(STACK_BYTES);
    if (!libcrux_ml_kem_mlkem768_portable_validate_public_key(&key)) {
        crypto_raise(MP_ERROR_TEXT("share"));
    }
    vstr_t ciphertext, secret; /* first: no secret is left where no memory is */
    vstr_init_len(&ciphertext, 1088);
    vstr_init_len(&secret, 32);
    mp_obj_t items[] = {mp_obj_new_bytes_from_vstr(&ciphertext), mp_obj_new_bytes_from_vstr(&secret)};
    mp_obj_t pair = mp_obj_new_tuple(2, items);
    tuple_3c result = libcrux_ml_kem_mlkem768_portable_encapsulate(&key, (uint8_t *)noise);
    memcpy((void *)crypto_octets(items[0], 1088), result.fst.value, 1088);
    memcpy((void *)crypto_octets(items[1], 32), result.snd, 32);
    crypto_wipe(result.snd, sizeof(result.snd));
    crypto_burn(STACK_BYTES);
    return pair;
}
static MP_DEFINE_CONST_FUN_OBJ_2(mlkem768_encapsulate_obj, mlkem768_encapsulate);

static const mp_rom_map_elem_t mlkem768_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__mlkem768)},
    {MP_ROM_QSTR(MP_QSTR_encapsulate), MP_ROM_PTR(&mlkem768_encapsulate_obj)},
};
static MP_DEFINE_CONST_DICT(mlkem768_globals, mlkem768_table);
const mp_obj_module_t mp_module__mlkem768 = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&mlkem768_globals};
MP_REGISTER_MODULE(MP_QSTR__mlkem768, mp_module__mlkem768);
