/* SPDX-License-Identifier: MIT */
/* mod_mlkem768_client.c: the module _mlkem768_client: ML-KEM-768 (FIPS 203), the side that has a key. */

#include "crypto.h"

#include "internal/libcrux_core.h"
#include "libcrux_mlkem768_portable.h"

#define STACK_BYTES 65536


/* generate(seed) -> (key, share): 64 random octets to 2400 and 1184 */
static mp_obj_t mlkem768_client_generate(mp_obj_t seed_in) {
    const uint8_t *seed = crypto_octets(seed_in, 64);
    crypto_need_stack(STACK_BYTES);
    vstr_t key, share; /* first: no secret is left where no memory is */
    vstr_init_len(&key, 2400);
    vstr_init_len(&share, 1184);
    mp_obj_t items[] = {mp_obj_new_bytes_from_vstr(&key), mp_obj_new_bytes_from_vstr(&share)};
    mp_obj_t result = mp_obj_new_tuple(2, items);
    libcrux_ml_kem_mlkem768_MlKem768KeyPair pair =
        libcrux_ml_kem_mlkem768_portable_generate_key_pair((uint8_t *)seed);
    memcpy((void *)crypto_octets(items[0], 2400), pair.sk.value, 2400);
    memcpy((void *)crypto_octets(items[1], 1184), pair.pk.value, 1184);
    crypto_wipe(&pair, sizeof(pair));
    crypto_burn(STACK_BYTES);
    return result;
}
static MP_DEFINE_CONST_FUN_OBJ_1(mlkem768_client_generate_obj, mlkem768_client_generate);

/*
 * decapsulate(key, ciphertext) -> 32 octets: others than the peer's where the ciphertext is not what it made. ValueError by
 * the checks of section 7.3.
 */
static mp_obj_t mlkem768_client_decapsulate(mp_obj_t key_in, mp_obj_t ciphertext_in) {
    const uint8_t *key = crypto_octets(key_in, 2400);
    const uint8_t *ciphertext = crypto_octets(ciphertext_in, 1088);
    crypto_need_stack(STACK_BYTES);
    vstr_t secret;
    vstr_init_len(&secret, 32);
    /* Both structures are nothing but their octets. */
    libcrux_ml_kem_types_MlKemPrivateKey_55 *private_key = (void *)key;
    libcrux_ml_kem_mlkem768_MlKem768Ciphertext *sent = (void *)ciphertext;
    bool is_good = libcrux_ml_kem_mlkem768_portable_validate_private_key(private_key, sent);
    if (is_good) {
        libcrux_ml_kem_mlkem768_portable_decapsulate(private_key, sent, (uint8_t *)secret.buf);
        crypto_burn(STACK_BYTES);
    } else {
        crypto_raise(MP_ERROR_TEXT("key"));
    }
    return mp_obj_new_bytes_from_vstr(&secret);
}
static MP_DEFINE_CONST_FUN_OBJ_2(mlkem768_client_decapsulate_obj, mlkem768_client_decapsulate);

static const mp_rom_map_elem_t mlkem768_client_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__mlkem768_client)},
    {MP_ROM_QSTR(MP_QSTR_generate), MP_ROM_PTR(&mlkem768_client_generate_obj)},
    {MP_ROM_QSTR(MP_QSTR_decapsulate), MP_ROM_PTR(&mlkem768_client_decapsulate_obj)},
};
static MP_DEFINE_CONST_DICT(mlkem768_client_globals, mlkem768_client_table);
const mp_obj_module_t mp_module__mlkem768_client = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&mlkem768_client_globals};
MP_REGISTER_MODULE(MP_QSTR__mlkem768_client, mp_module__mlkem768_client);
