/* SPDX-License-Identifier: MIT */
/* crypto.c: buffers, the stack, and which hash; for the C modules of cryptography. */

#include "crypto.h"

#include "py/cstack.h"

#include "bearssl_hash.h"

__attribute__((noinline)) void crypto_burn(size_t len_bytes) {
    void *below = __builtin_alloca(len_bytes);
    crypto_wipe(below, len_bytes);
}

void crypto_need_stack(size_t len_bytes) {
    mp_cstack_check();
    if (mp_cstack_usage() + len_bytes > MP_STATE_THREAD(stack_limit)) {
        mp_raise_recursion_depth();
    }
}

void crypto_raise(mp_rom_error_text_t what) {
    mp_raise_ValueError(what);
}

void crypto_buffer(mp_obj_t object, mp_buffer_info_t *info) {
    mp_get_buffer_raise(object, info, MP_BUFFER_READ);
}

const uint8_t *crypto_octets(mp_obj_t object, size_t len_bytes) {
    mp_buffer_info_t info;
    crypto_buffer(object, &info);
    if (info.len != len_bytes) {
        crypto_raise(MP_ERROR_TEXT("length"));
    }
    return info.buf;
}

const br_hash_class *crypto_hash(size_t digest_bytes) {
    switch (digest_bytes) {
        case 32:
            return &br_sha256_vtable;
        case 48:
            return &br_sha384_vtable;
        case 64:
            return &br_sha512_vtable;
        default:
            crypto_raise(MP_ERROR_TEXT("hash"));
    }
}
