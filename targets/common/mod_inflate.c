/* SPDX-License-Identifier: MIT */
/*
 * mod_inflate.c: the module _inflate: deflate's octets (RFC 1951) become what they were, piece by piece as they arrive.
 *
 * MicroPython's own `deflate` reads a stream, and has lost its place when the stream has nothing yet. Here the place is kept
 * before each symbol: where the input ends in the middle of one, it is read again with what follows. That is at most a
 * block's header (570 octets), so what is kept outside is bounded. uzlib does the work.
 */

#include <string.h>

#include "lib/uzlib/uzlib.h"

#include "modmirage.h"

#define WINDOW_BYTES (32768)

typedef struct {
    mp_obj_base_t base;
    uzlib_uncomp_t state;
    uint64_t total_bytes; /* that came out */
    size_t position; /* in the last input: what is before it has been used */
    bool is_done;
    uint8_t *window;
} inflate_t;

/* Inflate(check): check is 0 for none, 1 for Adler-32 (zlib), 2 for CRC-32 (gzip) over what comes out */
static mp_obj_t inflate_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 1, 1, false);
    mp_int_t check = mirage_int(args[0]);
    if (check < UZLIB_CHKSUM_NONE || check > UZLIB_CHKSUM_CRC) {
        mirage_raise_bounds();
    }
    inflate_t *self = mp_obj_malloc(inflate_t, type);
    memset((char *)self + sizeof(self->base), 0, sizeof(*self) - sizeof(self->base));
    /* Zeroed: a reference before the first octet must find nothing of the heap's. */
    self->window = m_new0(uint8_t, WINDOW_BYTES);
    uzlib_uncompress_init(&self->state, self->window, WINDOW_BYTES);
    self->state.checksum_type = (char)check;
    self->state.checksum = check == UZLIB_CHKSUM_ADLER ? 1 : check == UZLIB_CHKSUM_CRC ? ~0u : 0;
    return MP_OBJ_FROM_PTR(self);
}

/* What uzlib says, run up to `limit`; what it needed and was not there shows in `eof`. */
static int inflate_until(uzlib_uncomp_t *state, uint8_t *limit) {
    state->dest_limit = limit;
    return uzlib_uncompress(state);
}

/* One symbol, as a whole or not at all: false where the input ends in it. */
static bool inflate_symbol(inflate_t *self, uint8_t *out) {
    uzlib_uncomp_t *state = &self->state;
    const unsigned char *source = state->source;
    unsigned int tag = state->tag, bitcount = state->bitcount, curlen = state->curlen, dict_idx = state->dict_idx;
    int btype = state->btype, bfinal = state->bfinal, lz_off = state->lzOff;
    uint8_t *dest = state->dest;
    int result = inflate_until(state, dest + 1);
    if (state->eof) {
        state->eof = false;
        state->source = source;
        state->tag = tag;
        state->bitcount = bitcount;
        state->curlen = curlen;
        state->dict_idx = dict_idx;
        state->btype = btype;
        state->bfinal = bfinal;
        state->lzOff = lz_off;
        state->dest = dest;
        return false;
    }
    if (result == UZLIB_DONE) {
        self->is_done = true;
    } else if (result != UZLIB_OK) {
        mp_raise_ValueError(MP_ERROR_TEXT("not deflated"));
    } else if (curlen == 0 && state->curlen != 0 && state->btype != 0 && state->dest != dest) {
        /* A copy has begun, and its first octet is done. It must come from what has come out already. */
        unsigned int from = (unsigned int)(state->lzOff + WINDOW_BYTES - 1) % WINDOW_BYTES;
        unsigned int distance = (dict_idx + WINDOW_BYTES - from - 1) % WINDOW_BYTES + 1;
        if (distance > self->total_bytes + (uint64_t)(dest - out)) {
            mp_raise_ValueError(MP_ERROR_TEXT("not deflated"));
        }
    }
    return true;
}

/* run(data, start, out) -> how many octets were written to `out`, a bytearray, from its beginning. ValueError for what is
 * not deflated; the object is of no use then. */
static mp_obj_t inflate_run(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    inflate_t *self = MP_OBJ_TO_PTR(args[0]);
    uzlib_uncomp_t *state = &self->state;
    mp_buffer_info_t data, out;
    mp_get_buffer_raise(args[1], &data, MP_BUFFER_READ);
    mp_get_buffer_raise(args[3], &out, MP_BUFFER_WRITE);
    size_t start = (size_t)mirage_int(args[2]);
    if (start > data.len) {
        mirage_raise_bounds();
    }
    uint8_t *first = out.buf, *limit = first + out.len;
    state->source = (const uint8_t *)data.buf + start;
    state->source_limit = (const uint8_t *)data.buf + data.len;
    state->dest = first;
    while (!self->is_done && state->dest < limit) {
        size_t sure = 0; /* octets that come without another symbol */
        if (state->curlen != 0 && state->btype != 0) {
            sure = state->curlen;
        } else if (state->btype == 0 && state->curlen > 1) {
            sure = MIN((size_t)(state->source_limit - state->source), state->curlen - 1);
        }
        if (sure != 0) {
            inflate_until(state, state->dest + MIN(sure, (size_t)(limit - state->dest)));
        } else if (!inflate_symbol(self, first)) {
            break;
        }
    }
    self->position = (size_t)(state->source - (const uint8_t *)data.buf);
    size_t produced = (size_t)(state->dest - first);
    self->total_bytes += produced;
    if (state->checksum_type == UZLIB_CHKSUM_ADLER) {
        state->checksum = uzlib_adler32(first, (unsigned int)produced, state->checksum);
    } else if (state->checksum_type == UZLIB_CHKSUM_CRC) {
        state->checksum = uzlib_crc32(first, (unsigned int)produced, state->checksum);
    }
    /* The collector need not keep the input. */
    state->source = state->source_limit = NULL;
    state->dest = state->dest_limit = NULL;
    return MP_OBJ_NEW_SMALL_INT(produced);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(inflate_run_obj, 4, 4, inflate_run);

/* position() -> where in the last `data` what has not been used begins */
static mp_obj_t inflate_position(mp_obj_t self_in) {
    return MP_OBJ_NEW_SMALL_INT(((inflate_t *)MP_OBJ_TO_PTR(self_in))->position);
}
static MP_DEFINE_CONST_FUN_OBJ_1(inflate_position_obj, inflate_position);

/* is_done() -> whether the last block has ended */
static mp_obj_t inflate_is_done(mp_obj_t self_in) {
    return mp_obj_new_bool(((inflate_t *)MP_OBJ_TO_PTR(self_in))->is_done);
}
static MP_DEFINE_CONST_FUN_OBJ_1(inflate_is_done_obj, inflate_is_done);

/* checksum() -> of all that came out, as zlib or gzip has it at its end */
static mp_obj_t inflate_checksum(mp_obj_t self_in) {
    inflate_t *self = MP_OBJ_TO_PTR(self_in);
    uint32_t value = self->state.checksum;
    return mirage_new_uint64(self->state.checksum_type == UZLIB_CHKSUM_CRC ? ~value : value);
}
static MP_DEFINE_CONST_FUN_OBJ_1(inflate_checksum_obj, inflate_checksum);

static const mp_rom_map_elem_t inflate_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_run), MP_ROM_PTR(&inflate_run_obj) },
    { MP_ROM_QSTR(MP_QSTR_position), MP_ROM_PTR(&inflate_position_obj) },
    { MP_ROM_QSTR(MP_QSTR_is_done), MP_ROM_PTR(&inflate_is_done_obj) },
    { MP_ROM_QSTR(MP_QSTR_checksum), MP_ROM_PTR(&inflate_checksum_obj) },
};
static MP_DEFINE_CONST_DICT(inflate_locals, inflate_locals_table);

static MP_DEFINE_CONST_OBJ_TYPE(
    inflate_type, MP_QSTR_Inflate, MP_TYPE_FLAG_NONE, make_new, inflate_make_new, locals_dict, &inflate_locals);

static const mp_rom_map_elem_t inflate_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__inflate) },
    { MP_ROM_QSTR(MP_QSTR_Inflate), MP_ROM_PTR(&inflate_type) },
};
static MP_DEFINE_CONST_DICT(inflate_globals, inflate_globals_table);

const mp_obj_module_t mp_module__inflate = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&inflate_globals,
};
MP_REGISTER_MODULE(MP_QSTR__inflate, mp_module__inflate);
