/* SPDX-License-Identifier: MIT */
/*
 * stdio.c: sys.stdin, sys.stdout and sys.stderr as streams on the console. A read waits for the first octet and then
 * takes what is there; it returns nothing at the end of input.
 */

#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"

typedef struct {
    mp_obj_base_t base;
    int fd;
} console_stream_t;

static void stream_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    console_stream_t *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "<io.%s %d>", mp_obj_get_type_str(self_in), self->fd);
}

static mp_uint_t stream_read(mp_obj_t self_in, void *data, mp_uint_t len_bytes, int *errcode) {
    console_stream_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->fd != 0) {
        *errcode = MP_EPERM;
        return MP_STREAM_ERROR;
    }
    if (len_bytes == 0) {
        return 0;
    }
    int n;
    while ((n = mirage_console_read(data, len_bytes)) == 0) {
        mirage_wait_until(PLAT_NO_DEADLINE);
    }
    return n < 0 ? 0 : (mp_uint_t)n;
}

static mp_uint_t stream_write(mp_obj_t self_in, const void *data, mp_uint_t len_bytes, int *errcode) {
    console_stream_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->fd == 0) {
        *errcode = MP_EPERM;
        return MP_STREAM_ERROR;
    }
    mp_hal_stdout_tx_strn_cooked(data, len_bytes);
    return len_bytes;
}

static mp_uint_t stream_ioctl(mp_obj_t self_in, mp_uint_t request, uintptr_t arg, int *errcode) {
    console_stream_t *self = MP_OBJ_TO_PTR(self_in);
    if (request == MP_STREAM_POLL) {
        return mp_hal_stdio_poll(arg & (self->fd == 0 ? MP_STREAM_POLL_RD : MP_STREAM_POLL_WR));
    }
    if (request == MP_STREAM_CLOSE || request == MP_STREAM_FLUSH) {
        return 0;
    }
    *errcode = MP_EINVAL;
    return MP_STREAM_ERROR;
}

static const mp_rom_map_elem_t stream_locals_table[] = {
    {MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read1_obj)},
    {MP_ROM_QSTR(MP_QSTR_readinto), MP_ROM_PTR(&mp_stream_readinto_obj)},
    {MP_ROM_QSTR(MP_QSTR_readline), MP_ROM_PTR(&mp_stream_unbuffered_readline_obj)},
    {MP_ROM_QSTR(MP_QSTR_readlines), MP_ROM_PTR(&mp_stream_unbuffered_readlines_obj)},
    {MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mp_stream_write_obj)},
    {MP_ROM_QSTR(MP_QSTR_flush), MP_ROM_PTR(&mp_stream_flush_obj)},
    {MP_ROM_QSTR(MP_QSTR_close), MP_ROM_PTR(&mp_stream_close_obj)},
};
static MP_DEFINE_CONST_DICT(stream_locals, stream_locals_table);

static const mp_stream_p_t stream_protocol = {
    .read = stream_read,
    .write = stream_write,
    .ioctl = stream_ioctl,
    .is_text = true,
};

static MP_DEFINE_CONST_OBJ_TYPE(
    console_stream_type,
    MP_QSTR_TextIOWrapper,
    MP_TYPE_FLAG_ITER_IS_STREAM,
    print, stream_print,
    protocol, &stream_protocol,
    locals_dict, &stream_locals
    );

const console_stream_t mp_sys_stdin_obj = {{&console_stream_type}, 0};
const console_stream_t mp_sys_stdout_obj = {{&console_stream_type}, 1};
const console_stream_t mp_sys_stderr_obj = {{&console_stream_type}, 2};
