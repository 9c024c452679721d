/* SPDX-License-Identifier: MIT */
/* mod_buffers.c: what a packet's octets need from C: checksum, copies, typed views of memory, the DMA region. */

#include <string.h>

#include "modmirage.h"

#include "py/objarray.h"
#include "py/objstr.h"

/* --- checksum ----------------------------------------------------------------------------------------------------- */

static inline uint64_t load32(const uint8_t *data) {
    uint32_t word;
    memcpy(&word, data, sizeof(word));
    return word;
}

/*
 * The one's-complement sum does not depend on the order of octets in a word, except that the result is swapped (RFC
 * 1071, section 2 (B)): words are loaded as the machine likes them, 32 bits at a time into 64-bit sums that cannot
 * overflow below 16 GiB. That needs no carry, which an emulated processor computes dearly.
 */
static uint32_t ones_complement_sum(const uint8_t *data, size_t len_bytes) {
    uint64_t even = 0, odd = 0;
    while (len_bytes >= 32) {
        even += load32(data) + load32(data + 8) + load32(data + 16) + load32(data + 24);
        odd += load32(data + 4) + load32(data + 12) + load32(data + 20) + load32(data + 28);
        data += 32;
        len_bytes -= 32;
    }
    while (len_bytes >= 4) {
        even += load32(data);
        data += 4;
        len_bytes -= 4;
    }
    if (len_bytes >= 2) {
        even += data[0] | data[1] << 8;
        data += 2;
        len_bytes -= 2;
    }
    if (len_bytes != 0) {
        even += data[0];
    }
    even = (even & 0xffffffff) + (even >> 32) + (odd & 0xffffffff) + (odd >> 32);
    even = (even & 0xffff) + (even >> 16 & 0xffff) + (even >> 32);
    even = (even & 0xffff) + (even >> 16);
    even = (even & 0xffff) + (even >> 16);
    return (uint32_t)(even >> 8 | (even & 0xff) << 8);
}

/* checksum(buf, start, len, initial) -> 0..0xffff: folded, not inverted, of big-endian words */
static mp_obj_t mirage_checksum(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    const uint8_t *data = mirage_range(args[0], args[1], args[2], MP_BUFFER_READ);
    mp_int_t initial = mirage_int(args[3]);
    if ((uint64_t)initial > 0xffffffff) {
        mirage_raise_bounds();
    }
    uint64_t sum = (uint64_t)initial + ones_complement_sum(data, (size_t)mirage_int(args[2]));
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return MP_OBJ_NEW_SMALL_INT(sum);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_checksum_obj, 4, 4, mirage_checksum);

/* --- copies ------------------------------------------------------------------------------------------------------- */

/* copy(dst, dst_start, src, src_start, len): the ranges may overlap */
static mp_obj_t mirage_copy(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    uint8_t *dst = mirage_range(args[0], args[1], args[4], MP_BUFFER_WRITE);
    const uint8_t *src = mirage_range(args[2], args[3], args[4], MP_BUFFER_READ);
    memmove(dst, src, (size_t)mirage_int(args[4]));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_copy_obj, 5, 5, mirage_copy);

/* take(src, start, len) -> bytes */
static mp_obj_t mirage_take(mp_obj_t src, mp_obj_t start, mp_obj_t len_in) {
    const uint8_t *data = mirage_range(src, start, len_in, MP_BUFFER_READ);
    return mp_obj_new_bytes(data, (size_t)mirage_int(len_in));
}
MP_DEFINE_CONST_FUN_OBJ_3(mirage_take_obj, mirage_take);

/* --- views -------------------------------------------------------------------------------------------------------- */

size_t mirage_item_bytes(mp_obj_t typecode) {
    size_t len;
    const char *code = mp_obj_str_get_data(typecode, &len);
    switch (len == 1 ? code[0] : 0) {
        case 'B':
            return 1;
        case 'H':
            return 2;
        case 'I':
            return 4;
        case 'Q':
            return 8;
        default:
            mp_raise_ValueError(MP_ERROR_TEXT("typecode"));
    }
}

mp_obj_t mirage_new_view(void *base, size_t offset_bytes, size_t len_bytes, size_t item_bytes, bool writable) {
    size_t typecode = (size_t)(item_bytes == 1 ? 'B' : item_bytes == 2 ? 'H' : item_bytes == 4 ? 'I' : 'Q');
    mp_obj_array_t *view = mp_obj_malloc(mp_obj_array_t, &mp_type_memoryview);
    mp_obj_memoryview_init(view, typecode | (writable ? MP_OBJ_ARRAY_TYPECODE_FLAG_RW : 0), offset_bytes / item_bytes,
        len_bytes / item_bytes, base);
    return MP_OBJ_FROM_PTR(view);
}

/* view(mv, start, len_bytes, typecode) -> memoryview of the same memory; start counts octets */
static mp_obj_t mirage_view(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    size_t item_bytes = mirage_item_bytes(args[3]);
    if (!mp_obj_is_exact_type(args[0], &mp_type_memoryview)) {
        mp_raise_TypeError(MP_ERROR_TEXT("memoryview required"));
    }
    mp_obj_array_t *source = MP_OBJ_TO_PTR(args[0]);
    uint8_t *data = mirage_range(args[0], args[1], args[2], MP_BUFFER_READ);
    size_t len_bytes = (size_t)mirage_int(args[2]);
    if (len_bytes % item_bytes != 0 || (uintptr_t)data % item_bytes != 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("alignment"));
    }
    /*
     * The collector knows an allocation by its start: a view keeps that, and an offset. Memory whose start is less
     * aligned than the view is not the collector's.
     */
    uint8_t *base = source->items;
    if ((uintptr_t)base % item_bytes != 0) {
        base = data;
    }
    return mirage_new_view(base, (size_t)(data - base), len_bytes, item_bytes,
        source->typecode & MP_OBJ_ARRAY_TYPECODE_FLAG_RW);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_view_obj, 4, 4, mirage_view);

/* dma_region() -> (memoryview 'B', phys_addr) */
static mp_obj_t mirage_dma_region(void) {
    void *base;
    uint64_t phys_addr;
    size_t len_bytes;
    plat_dma(&base, &phys_addr, &len_bytes);
    mp_obj_t items[] = {mirage_new_view(base, 0, len_bytes, 1, true), mirage_new_uint64(phys_addr)};
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_0(mirage_dma_region_obj, mirage_dma_region);

/* fence(): all earlier accesses to memory are done before any later one */
static mp_obj_t mirage_fence(void) {
    __sync_synchronize();
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_0(mirage_fence_obj, mirage_fence);
