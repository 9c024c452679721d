/* SPDX-License-Identifier: MIT */
/*
 * mod_embedded.c: data that the application's build put into read-only memory (mirage_py/build/embedded.py writes the table).
 * In an image only when something imports the module.
 */

#include <string.h>

#include "modmirage.h"

#include "py/objarray.h"
#include "py/objstr.h"

typedef struct {
    const char *name;
    uint64_t name_len_bytes;
    const uint8_t *data;
    uint64_t len_bytes;
} mirage_embedded_entry_t;

/* Absent where nothing was embedded. */
extern const struct {
    uint64_t count;
    mirage_embedded_entry_t entries[];
} mirage_embedded __attribute__((weak));

static const mirage_embedded_entry_t *find(mp_obj_t name) {
    size_t len;
    const char *text = mp_obj_str_get_data(name, &len);
    for (uint64_t i = 0; &mirage_embedded != NULL && i < mirage_embedded.count; i++) {
        const mirage_embedded_entry_t *entry = &mirage_embedded.entries[i];
        if (entry->name_len_bytes == len && memcmp(entry->name, text, len) == 0) {
            return entry;
        }
    }
    mp_raise_type_arg(&mp_type_KeyError, name);
}

/* get(name) -> memoryview, not writable, of memory outside of the heap; KeyError where nothing has the name */
static mp_obj_t embedded_get(mp_obj_t name) {
    const mirage_embedded_entry_t *entry = find(name);
    return mp_obj_new_memoryview('B', (size_t)entry->len_bytes, (void *)(uintptr_t)entry->data);
}
static MP_DEFINE_CONST_FUN_OBJ_1(embedded_get_obj, embedded_get);

/* octets(name, start, len) -> bytes that lie where they are: 32 octets of heap, however many they are */
static mp_obj_t embedded_octets(mp_obj_t name, mp_obj_t start_in, mp_obj_t len_in) {
    const mirage_embedded_entry_t *entry = find(name);
    uint64_t start = (uint64_t)mirage_int(start_in), len = (uint64_t)mirage_int(len_in);
    if (start > entry->len_bytes || len > entry->len_bytes - start) {
        mirage_raise_bounds();
    }
    mp_obj_str_t *octets = mp_obj_malloc(mp_obj_str_t, &mp_type_bytes);
    octets->hash = 0; /* not computed yet */
    octets->len = (size_t)len;
    octets->data = entry->data + start;
    return MP_OBJ_FROM_PTR(octets);
}
static MP_DEFINE_CONST_FUN_OBJ_3(embedded_octets_obj, embedded_octets);

static const mp_rom_map_elem_t embedded_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__embedded)},
    {MP_ROM_QSTR(MP_QSTR_get), MP_ROM_PTR(&embedded_get_obj)},
    {MP_ROM_QSTR(MP_QSTR_octets), MP_ROM_PTR(&embedded_octets_obj)},
};
static MP_DEFINE_CONST_DICT(embedded_globals, embedded_globals_table);

const mp_obj_module_t mp_module__embedded = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&embedded_globals,
};
MP_REGISTER_MODULE(MP_QSTR__embedded, mp_module__embedded);
