/* SPDX-License-Identifier: MIT */
/*
 * mod_aead.c: the module _aead: AES-GCM on AES-NI and PCLMULQDQ (NIST SP 800-38D), ChaCha20-Poly1305 (RFC 8439). A record is
 * made in one new object: what comes before it, the encrypted octets, the tag. So are many that go out together.
 */

#include "crypto.h"

#include "py/gc.h"
#include "py/objstr.h"

#include <cpuid.h>

#include "bearssl_aead.h"

#define NONCE_BYTES 12
#define TAG_BYTES 16
#define STACK_BYTES 1024
#define LONGEST_PLAINTEXT 16384
#define SPARES 4
/* A record of TLS 1.3 (RFC 8446 section 5.2). */
#define APPLICATION_DATA 23
#define HEADER_BYTES 5

typedef struct {
    mp_obj_base_t base;
    bool is_wiped;
    union {
        br_aes_x86ni_ctr_keys aes;
        uint8_t chacha[32];
    } key;
} aead_obj_t;

static const mp_obj_type_t type_aes_gcm, type_chacha;

/* Of records that were discarded, all of one length. They stay: what sends in bulk once does so again. */
MP_REGISTER_ROOT_POINTER(void *aead_spares[4]);
static size_t spare_len;
static unsigned spare_count;

/* Asked once: a virtual machine leaves for CPUID, which takes longer than sealing a record. */
static bool has_aes_instructions(void) {
    static signed char known;
    if (known == 0) {
        unsigned a, b, c, d;
        const unsigned needed = bit_AES | bit_PCLMUL | bit_SSSE3 | bit_SSE4_1;
        known = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & needed) == needed ? 1 : -1;
    }
    return known > 0;
}

/* BearSSL asks CPUID for it, too. SSE2 is what every x86-64 has. */
static br_chacha20_run chacha20(void) {
    static br_chacha20_run known;
    if (known == NULL) {
        known = br_chacha20_sse2_get();
    }
    return known;
}

/* has_aes() -> bool: whether AES-GCM takes a time that does not depend on keys and data here, which tables would not */
static mp_obj_t aead_has_aes(void) {
    return mp_obj_new_bool(has_aes_instructions());
}
static MP_DEFINE_CONST_FUN_OBJ_0(aead_has_aes_obj, aead_has_aes);

static mp_obj_t aead_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 1, 1, false);
    mp_buffer_info_t key;
    crypto_buffer(args[0], &key);
    bool is_aes = type == &type_aes_gcm;
    if (key.len != 32 && !(is_aes && key.len == 16)) {
        crypto_raise(MP_ERROR_TEXT("length"));
    }
    if (is_aes && !has_aes_instructions()) {
        crypto_raise(MP_ERROR_TEXT("AES instructions"));
    }
    size_t len = is_aes ? sizeof(aead_obj_t) : offsetof(aead_obj_t, key) + sizeof(((aead_obj_t *)0)->key.chacha);
    aead_obj_t *self = m_malloc(len);
    self->base.type = type;
    self->is_wiped = false;
    if (is_aes) {
        br_aes_x86ni_ctr_init(&self->key.aes, key.buf, key.len);
        crypto_burn(STACK_BYTES);
    } else {
        memcpy(self->key.chacha, key.buf, sizeof(self->key.chacha));
    }
    return MP_OBJ_FROM_PTR(self);
}

/* In place; the tag of `aad` and the encrypted octets. */
static void run(aead_obj_t *self, const uint8_t *nonce, const mp_buffer_info_t *aad, uint8_t *data, size_t len,
    uint8_t *tag, bool encrypt) {
    if (self->base.type == &type_aes_gcm) {
        br_gcm_context gcm;
        br_gcm_init(&gcm, &self->key.aes.vtable, br_ghash_pclmul);
        br_gcm_reset(&gcm, nonce, NONCE_BYTES);
        br_gcm_aad_inject(&gcm, aad->buf, aad->len);
        br_gcm_flip(&gcm);
        br_gcm_run(&gcm, encrypt, data, len);
        br_gcm_get_tag(&gcm, tag);
        crypto_wipe(&gcm, sizeof(gcm));
    } else {
        br_poly1305_ctmulq_run(self->key.chacha, nonce, data, len, aad->buf, aad->len, tag, chacha20(), encrypt);
    }
    crypto_burn(STACK_BYTES);
}

static aead_obj_t *usable(mp_obj_t self_in) {
    aead_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->is_wiped) {
        crypto_raise(MP_ERROR_TEXT("wiped"));
    }
    return self;
}

/* Room for a record of `len` octets: of one that was discarded, where there is one. */
static void init_record(vstr_t *result, size_t len) {
    if (len != spare_len || spare_count == 0) {
        vstr_init_len(result, len);
        return;
    }
    vstr_init_fixed_buf(result, len + 1, MP_STATE_VM(aead_spares)[--spare_count]);
    MP_STATE_VM(aead_spares)[spare_count] = NULL;
    result->fixed_buf = false;
    result->len = len;
}

/* seal(nonce, aad, data, head=b"", tail=b"") -> head + encrypted(data + tail) + tag */
static mp_obj_t aead_seal(size_t n_args, const mp_obj_t *args) {
    aead_obj_t *self = usable(args[0]);
    const uint8_t *nonce = crypto_octets(args[1], NONCE_BYTES);
    mp_buffer_info_t aad, data, head = {.len = 0}, tail = {.len = 0};
    crypto_buffer(args[2], &aad);
    crypto_buffer(args[3], &data);
    if (n_args > 4) {
        crypto_buffer(args[4], &head);
    }
    if (n_args > 5) {
        crypto_buffer(args[5], &tail);
    }
    size_t len = data.len + tail.len;
    vstr_t result;
    init_record(&result, head.len + len + TAG_BYTES);
    uint8_t *body = (uint8_t *)result.buf + head.len;
    memcpy(result.buf, head.buf, head.len);
    memcpy(body, data.buf, data.len);
    memcpy(body + data.len, tail.buf, tail.len);
    run(self, nonce, &aad, body, len, body + len, true);
    return mp_obj_new_bytes_from_vstr(&result);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(aead_seal_obj, 4, 6, aead_seal);

/*
 * seal_records(nonce, tail, sequence, data, limit) -> application data as records of TLS 1.3, one behind the other, of
 * `limit` octets each but for the last. The first one's nonce ends with tail ^ sequence, in four octets, the second one's
 * with tail ^ (sequence + 1). To have them in one object saves joining them, or a write for each.
 */
static mp_obj_t aead_seal_records(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    aead_obj_t *self = usable(args[0]);
    uint8_t nonce[NONCE_BYTES];
    memcpy(nonce, crypto_octets(args[1], NONCE_BYTES), NONCE_BYTES);
    uint32_t tail = (uint32_t)mp_obj_get_int(args[2]), sequence = (uint32_t)mp_obj_get_int(args[3]);
    mp_buffer_info_t data;
    crypto_buffer(args[4], &data);
    mp_int_t limit = mp_obj_get_int(args[5]);
    if (limit < 1 || limit > LONGEST_PLAINTEXT) {
        crypto_raise(MP_ERROR_TEXT("length"));
    }
    size_t left = data.len, count = (left + (size_t)limit - 1) / (size_t)limit;
    const uint8_t *from = data.buf;
    vstr_t result;
    init_record(&result, left + count * (HEADER_BYTES + 1 + TAG_BYTES));
    uint8_t *record = (uint8_t *)result.buf;
    while (left > 0) {
        size_t len = MIN(left, (size_t)limit), length = len + 1 + TAG_BYTES;
        record[0] = APPLICATION_DATA;
        record[1] = record[2] = 3;
        record[3] = (uint8_t)(length >> 8);
        record[4] = (uint8_t)length;
        uint8_t *body = record + HEADER_BYTES;
        memcpy(body, from, len);
        body[len] = APPLICATION_DATA; /* TLSInnerPlaintext.type */
        uint32_t last = tail ^ sequence++;
        for (int i = 0; i < 4; i++) {
            nonce[NONCE_BYTES - 1 - i] = (uint8_t)(last >> 8 * i);
        }
        mp_buffer_info_t header = {.buf = record, .len = HEADER_BYTES};
        run(self, nonce, &header, body, len + 1, body + len + 1, true);
        record = body + length;
        from += len;
        left -= len;
    }
    crypto_wipe(nonce, sizeof(nonce));
    return mp_obj_new_bytes_from_vstr(&result);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(aead_seal_records_obj, 6, 6, aead_seal_records);

/* open(nonce, aad, data) -> bytes, or None: then nothing of what was decrypted is left */
static mp_obj_t aead_open(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    aead_obj_t *self = usable(args[0]);
    const uint8_t *nonce = crypto_octets(args[1], NONCE_BYTES);
    mp_buffer_info_t aad, data;
    crypto_buffer(args[2], &aad);
    crypto_buffer(args[3], &data);
    if (data.len < TAG_BYTES) {
        return mp_const_none;
    }
    size_t len = data.len - TAG_BYTES;
    vstr_t result;
    vstr_init_len(&result, len);
    memcpy(result.buf, data.buf, len);
    uint8_t tag[TAG_BYTES];
    run(self, nonce, &aad, (uint8_t *)result.buf, len, tag, false);
    const volatile uint8_t *received = (uint8_t *)data.buf + len;
    uint8_t differing = 0;
    for (size_t i = 0; i < TAG_BYTES; i++) {
        differing |= tag[i] ^ received[i];
    }
    crypto_wipe(tag, sizeof(tag)); /* the right one, of a message that the peer did not write */
    if (differing != 0) {
        crypto_wipe(result.buf, len);
        vstr_clear(&result);
        return mp_const_none;
    }
    return mp_obj_new_bytes_from_vstr(&result);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(aead_open_obj, 4, 4, aead_open);

static mp_obj_t aead_wipe(mp_obj_t self_in) {
    aead_obj_t *self = MP_OBJ_TO_PTR(self_in);
    self->is_wiped = true;
    crypto_wipe(&self->key, self->base.type == &type_aes_gcm ? sizeof(self->key.aes) : sizeof(self->key.chacha));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(aead_wipe_obj, aead_wipe);

/*
 * discard(records): they are b"" from now on, and what they were is room for an object of that length to come, where it is as long
 * as a record or more. Who sends records by copying them needs them no more, and a bulk transfer of records that the
 * collector frees goes through all of the heap, and no cache.
 */
static mp_obj_t aead_discard(mp_obj_t record) {
    mp_obj_str_t *bytes = MP_OBJ_TO_PTR(record);
    if (!mp_obj_is_exact_type(record, &mp_type_bytes) || bytes->len < LONGEST_PLAINTEXT
        || (uint8_t *)bytes->data < MP_STATE_MEM(area).gc_pool_start
        || (uint8_t *)bytes->data >= MP_STATE_MEM(area).gc_pool_end) {
        return mp_const_none;
    }
    if (bytes->len != spare_len) {
        spare_count = 0;
        spare_len = bytes->len;
    }
    if (spare_count < (bytes->len < 2 * LONGEST_PLAINTEXT ? SPARES : 1)) {
        MP_STATE_VM(aead_spares)[spare_count++] = (void *)bytes->data;
    }
    bytes->hash = 0;
    bytes->len = 0;
    bytes->data = (const byte *)"";
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(aead_discard_obj, aead_discard);

static const mp_rom_map_elem_t aead_locals_table[] = {
    {MP_ROM_QSTR(MP_QSTR_seal), MP_ROM_PTR(&aead_seal_obj)},
    {MP_ROM_QSTR(MP_QSTR_seal_records), MP_ROM_PTR(&aead_seal_records_obj)},
    {MP_ROM_QSTR(MP_QSTR_open), MP_ROM_PTR(&aead_open_obj)},
    {MP_ROM_QSTR(MP_QSTR_wipe), MP_ROM_PTR(&aead_wipe_obj)},
};
static MP_DEFINE_CONST_DICT(aead_locals, aead_locals_table);

static MP_DEFINE_CONST_OBJ_TYPE(
    type_aes_gcm, MP_QSTR_AesGcm, MP_TYPE_FLAG_NONE, make_new, aead_make_new, locals_dict, &aead_locals);
static MP_DEFINE_CONST_OBJ_TYPE(
    type_chacha, MP_QSTR_ChaCha20Poly1305, MP_TYPE_FLAG_NONE, make_new, aead_make_new, locals_dict, &aead_locals);

static const mp_rom_map_elem_t aead_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__aead)},
    {MP_ROM_QSTR(MP_QSTR_discard), MP_ROM_PTR(&aead_discard_obj)},
    {MP_ROM_QSTR(MP_QSTR_has_aes), MP_ROM_PTR(&aead_has_aes_obj)},
    {MP_ROM_QSTR(MP_QSTR_AesGcm), MP_ROM_PTR(&type_aes_gcm)},
    {MP_ROM_QSTR(MP_QSTR_ChaCha20Poly1305), MP_ROM_PTR(&type_chacha)},
};
static MP_DEFINE_CONST_DICT(aead_globals, aead_table);
const mp_obj_module_t mp_module__aead = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&aead_globals};
MP_REGISTER_MODULE(MP_QSTR__aead, mp_module__aead);
