/* SPDX-License-Identifier: MIT */
/* mod_hashes.c: the module _hashes: SHA-2 with copies, HMAC, comparing and wiping of secrets. */

#include "crypto.h"

#include "py/gc.h"

#include "bearssl_hash.h"
#include "bearssl_hmac.h"

/* A digest may be asked for at any time: BearSSL finishes on a copy. */
typedef struct {
    mp_obj_base_t base;
    const br_hash_class *hash[]; /* the context, which begins with its class */
} hash_obj_t;

static const mp_obj_type_t type_sha256, type_sha384, type_sha512;

static const br_hash_class *class_of(const mp_obj_type_t *type) {
    return crypto_hash(type == &type_sha256 ? 32 : type == &type_sha384 ? 48 : 64);
}

static hash_obj_t *new_hash(const mp_obj_type_t *type, const br_hash_class *class) {
    hash_obj_t *self = m_malloc(sizeof(mp_obj_base_t) + class->context_size);
    self->base.type = type;
    return self;
}

static mp_obj_t hash_update(mp_obj_t self_in, mp_obj_t data) {
    hash_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_buffer_info_t info;
    crypto_buffer(data, &info);
    self->hash[0]->update(self->hash, info.buf, info.len);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(hash_update_obj, hash_update);

static mp_obj_t hash_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 0, 1, false);
    const br_hash_class *class = class_of(type);
    hash_obj_t *self = new_hash(type, class);
    class->init(self->hash);
    if (n_args != 0) {
        hash_update(MP_OBJ_FROM_PTR(self), args[0]);
    }
    return MP_OBJ_FROM_PTR(self);
}

static mp_obj_t hash_digest(mp_obj_t self_in) {
    hash_obj_t *self = MP_OBJ_TO_PTR(self_in);
    uint8_t digest[64];
    self->hash[0]->out(self->hash, digest);
    mp_obj_t result = mp_obj_new_bytes(digest, self->hash[0]->desc >> BR_HASHDESC_OUT_OFF & BR_HASHDESC_OUT_MASK);
    return result;
}
static MP_DEFINE_CONST_FUN_OBJ_1(hash_digest_obj, hash_digest);

static mp_obj_t hash_copy(mp_obj_t self_in) {
    hash_obj_t *self = MP_OBJ_TO_PTR(self_in);
    hash_obj_t *copy = new_hash(self->base.type, self->hash[0]);
    memcpy(copy->hash, self->hash, self->hash[0]->context_size);
    return MP_OBJ_FROM_PTR(copy);
}
static MP_DEFINE_CONST_FUN_OBJ_1(hash_copy_obj, hash_copy);

#define HASH_TYPE(name, digest_bytes, block_bytes) \
    static const mp_rom_map_elem_t name##_table[] = { \
        {MP_ROM_QSTR(MP_QSTR_update), MP_ROM_PTR(&hash_update_obj)}, \
        {MP_ROM_QSTR(MP_QSTR_digest), MP_ROM_PTR(&hash_digest_obj)}, \
        {MP_ROM_QSTR(MP_QSTR_copy), MP_ROM_PTR(&hash_copy_obj)}, \
        {MP_ROM_QSTR(MP_QSTR_digest_size), MP_ROM_INT(digest_bytes)}, \
        {MP_ROM_QSTR(MP_QSTR_block_size), MP_ROM_INT(block_bytes)}, \
    }; \
    static MP_DEFINE_CONST_DICT(name##_locals, name##_table); \
    static MP_DEFINE_CONST_OBJ_TYPE( \
        type_##name, MP_QSTR_##name, MP_TYPE_FLAG_NONE, make_new, hash_make_new, locals_dict, &name##_locals)

HASH_TYPE(sha256, 32, 64);
HASH_TYPE(sha384, 48, 128);
HASH_TYPE(sha512, 64, 128);

/* hmac(bits, key, data) -> bytes */
static mp_obj_t hashes_hmac(mp_obj_t bits, mp_obj_t key_in, mp_obj_t data_in) {
    const br_hash_class *class = crypto_hash((size_t)mp_obj_get_int(bits) / 8);
    mp_buffer_info_t key, data;
    crypto_buffer(key_in, &key);
    crypto_buffer(data_in, &data);
    vstr_t result;
    vstr_init_len(&result, class->desc >> BR_HASHDESC_OUT_OFF & BR_HASHDESC_OUT_MASK);
    br_hmac_key_context prepared;
    br_hmac_context context;
    br_hmac_key_init(&prepared, class, key.buf, key.len);
    br_hmac_init(&context, &prepared, 0);
    br_hmac_update(&context, data.buf, data.len);
    br_hmac_out(&context, result.buf);
    crypto_wipe(&prepared, sizeof(prepared));
    crypto_wipe(&context, sizeof(context));
    crypto_burn(3072);
    return mp_obj_new_bytes_from_vstr(&result);
}
static MP_DEFINE_CONST_FUN_OBJ_3(hashes_hmac_obj, hashes_hmac);

/* equal(a, b) -> bool, in a time that only depends on the lengths */
static mp_obj_t hashes_equal(mp_obj_t a_in, mp_obj_t b_in) {
    mp_buffer_info_t a, b;
    crypto_buffer(a_in, &a);
    crypto_buffer(b_in, &b);
    if (a.len != b.len) {
        return mp_const_false;
    }
    const volatile uint8_t *from_a = a.buf, *from_b = b.buf;
    uint8_t differing = 0;
    for (size_t i = 0; i < a.len; i++) {
        differing |= from_a[i] ^ from_b[i];
    }
    return mp_obj_new_bool(differing == 0);
}
static MP_DEFINE_CONST_FUN_OBJ_2(hashes_equal_obj, hashes_equal);

/* wipe(buffer): of bytes too, where they are the heap's and so no constant of the image */
static mp_obj_t hashes_wipe(mp_obj_t buffer) {
    mp_buffer_info_t info;
    if (!mp_get_buffer(buffer, &info, MP_BUFFER_WRITE)) {
        crypto_buffer(buffer, &info);
        if (gc_nbytes(info.buf) == 0) {
            return mp_const_none;
        }
    }
    crypto_wipe(info.buf, info.len);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(hashes_wipe_obj, hashes_wipe);

static const mp_rom_map_elem_t hashes_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__hashes)},
    {MP_ROM_QSTR(MP_QSTR_sha256), MP_ROM_PTR(&type_sha256)},
    {MP_ROM_QSTR(MP_QSTR_sha384), MP_ROM_PTR(&type_sha384)},
    {MP_ROM_QSTR(MP_QSTR_sha512), MP_ROM_PTR(&type_sha512)},
    {MP_ROM_QSTR(MP_QSTR_hmac), MP_ROM_PTR(&hashes_hmac_obj)},
    {MP_ROM_QSTR(MP_QSTR_equal), MP_ROM_PTR(&hashes_equal_obj)},
    {MP_ROM_QSTR(MP_QSTR_wipe), MP_ROM_PTR(&hashes_wipe_obj)},
};
static MP_DEFINE_CONST_DICT(hashes_globals, hashes_table);
const mp_obj_module_t mp_module__hashes = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&hashes_globals};
MP_REGISTER_MODULE(MP_QSTR__hashes, mp_module__hashes);
