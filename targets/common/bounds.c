/* SPDX-License-Identifier: MIT */
/* bounds.c: a part of a buffer, checked; for the files of `_mirage`. */

#include "modmirage.h"

__attribute__((noreturn)) void mirage_raise_bounds(void) {
    mp_raise_ValueError(MP_ERROR_TEXT("out of bounds"));
}

uint8_t *mirage_range(mp_obj_t buf, mp_obj_t start_in, mp_obj_t len_in, mp_uint_t flags) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buf, &info, flags);
    mp_int_t start = mirage_int(start_in);
    mp_int_t len_bytes = mirage_int(len_in);
    /* As unsigned numbers, negative ones are larger than any buffer. */
    if ((size_t)start > info.len || (size_t)len_bytes > info.len - (size_t)start) {
        mirage_raise_bounds();
    }
    return (uint8_t *)info.buf + start;
}
