/* SPDX-License-Identifier: MIT */
/* mirage_os.h: included by extmod/modos.c: os.urandom. */

#include "py/mperrno.h"
#include "py/mphal.h"

static mp_obj_t mp_os_urandom(mp_obj_t count_in) {
    mp_int_t count = mp_obj_get_int(count_in);
    if (count < 0) {
        mp_raise_ValueError(NULL);
    }
    vstr_t vstr;
    vstr_init_len(&vstr, (size_t)count);
    if (!plat_entropy((uint8_t *)vstr.buf, vstr.len)) {
        mp_raise_OSError(MP_EIO);
    }
    return mp_obj_new_bytes_from_vstr(&vstr);
}
static MP_DEFINE_CONST_FUN_OBJ_1(mp_os_urandom_obj, mp_os_urandom);
