/* SPDX-License-Identifier: MIT */
/* mod_p256_agree.c: the module _p256_agree: ECDH over P-256 (NIST SP 800-56A). */

#include "crypto.h"

#include "Hacl_P256.h"

#define BYTES 32
#define STACK_BYTES 8192


/* agree(scalar, share) -> 32 octets; ValueError for what is no point of the curve (RFC 8446 section 4.2.8.2) */
static mp_obj_t p256_agree_agree(mp_obj_t scalar_in, mp_obj_t share_in) {
    const uint8_t *scalar = crypto_octets(scalar_in, BYTES);
    const uint8_t *share = crypto_octets(share_in, 1 + 2 * BYTES);
    crypto_need_stack(STACK_BYTES);
    vstr_t secret; /* first: no secret is left where no memory is */
    vstr_init_len(&secret, BYTES);
    uint8_t point[2 * BYTES];
    bool is_good = share[0] == 4 && Hacl_P256_dh_responder(point, (uint8_t *)share + 1, (uint8_t *)scalar);
    memcpy(secret.buf, point, BYTES);
    crypto_wipe(point, sizeof(point));
    crypto_burn(STACK_BYTES);
    if (!is_good) {
        crypto_wipe(secret.buf, BYTES);
        crypto_raise(MP_ERROR_TEXT("share"));
    }
    return mp_obj_new_bytes_from_vstr(&secret);
}
static MP_DEFINE_CONST_FUN_OBJ_2(p256_agree_agree_obj, p256_agree_agree);

static const mp_rom_map_elem_t p256_agree_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__p256_agree)},
    {MP_ROM_QSTR(MP_QSTR_agree), MP_ROM_PTR(&p256_agree_agree_obj)},
};
static MP_DEFINE_CONST_DICT(p256_agree_globals, p256_agree_table);
const mp_obj_module_t mp_module__p256_agree = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&p256_agree_globals};
MP_REGISTER_MODULE(MP_QSTR__p256_agree, mp_module__p256_agree);
