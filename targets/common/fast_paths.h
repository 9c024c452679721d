/* SPDX-License-Identifier: MIT */
/*
 * fast_paths.h: what most bytecode does, done in place. MicroPython's vm.c and others, as changed by changes/, use
 * these and leave the rest to the general functions. They save instructions, and calls above all: an emulator pays for
 * every return and indirect jump with a search for the code to go on with.
 */
#ifndef MIRAGE_FAST_PATHS_H
#define MIRAGE_FAST_PATHS_H

#include "py/builtin.h"
#include "py/cstack.h"
#include "py/objarray.h"
#include "py/objlist.h"
#include "py/objstr.h"
#include "py/objtuple.h"
#include "py/objtype.h"
#include "py/runtime.h"

#define FAST_INLINE static inline __attribute__((always_inline))
#define FAST_TYPE(object) (((mp_obj_base_t *)MP_OBJ_TO_PTR(object))->type)

/*
 * Where in a table the key was found last. Tables of one size, as those of one class's objects mostly are, share that.
 */
FAST_INLINE uint8_t *fast_map_hint(const mp_map_t *map, mp_obj_t key) {
    size_t slot = (((uintptr_t)key >> 3) + map->alloc * 256) % MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE;
    return &MP_STATE_VM(map_lookup_cache)[slot];
}

/* What is found there; NULL: to be looked for elsewhere. */
FAST_INLINE mp_map_elem_t *fast_map_hit(const mp_map_t *map, mp_obj_t key) {
    size_t pos = *fast_map_hint(map, key);
    return pos < map->alloc && map->table[pos].key == key ? &map->table[pos] : NULL;
}

FAST_INLINE mp_map_elem_t *fast_map_lookup(mp_map_t *map, mp_obj_t key) {
    mp_map_elem_t *elem = fast_map_hit(map, key);
    return elem != NULL ? elem : mp_map_lookup(map, key, MP_MAP_LOOKUP);
}

FAST_INLINE bool fast_is_true(mp_obj_t value) {
    if (mp_obj_is_small_int(value)) {
        return value != MP_OBJ_NEW_SMALL_INT(0);
    }
    if (value == mp_const_true || value == mp_const_false || value == mp_const_none) {
        return value == mp_const_true;
    }
    if (mp_obj_is_obj(value) && FAST_TYPE(value) == &mp_type_list) {
        return ((mp_obj_list_t *)MP_OBJ_TO_PTR(value))->len != 0;
    }
    return mp_obj_is_true(value);
}

/*
 * A variable of the module that is no hit: the builtin if no table ever had a variable or anything else of this name. An
 * ordered table may be, or come from, a constant one, whose names nobody noted.
 */
FAST_INLINE mp_obj_t fast_global(qstr name) {
    const mp_map_t *variables = &mp_globals_get()->map;
    if (!mirage_maybe(mirage_table_names, name) && variables->all_keys_are_qstrs && !variables->is_ordered
        && MP_STATE_VM(mp_module_builtins_override_dict) == NULL) {
        mp_map_t *builtins = (mp_map_t *)&mp_module_builtins_globals.map;
        mp_map_elem_t *elem = fast_map_lookup(builtins, MP_OBJ_NEW_QSTR(name));
        if (elem != NULL) {
            return elem->value;
        }
    }
    return mp_load_global(name);
}

/*
 * The item that an index of a bytearray means, or of a memoryview of unsigned numbers of 8, 16 or 32 bits, as a device's
 * rings are read with. Returns how many octets it has; 0: to be found by the general way.
 */
FAST_INLINE size_t fast_item(mp_obj_t object, const mp_obj_type_t *type, mp_int_t index, bool to_write, void **item) {
    mp_obj_array_t *array = MP_OBJ_TO_PTR(object);
    size_t size = 1, first = 0;
    if (type == &mp_type_memoryview) {
        if (to_write && !(array->typecode & MP_OBJ_ARRAY_TYPECODE_FLAG_RW)) {
            return 0;
        }
        uint8_t typecode = array->typecode & ~MP_OBJ_ARRAY_TYPECODE_FLAG_RW;
        size = typecode == 'B' ? 1 : typecode == 'H' ? 2 : typecode == 'I' ? 4 : 0;
        first = array->free;
    } else if (type != &mp_type_bytearray) {
        return 0;
    }
    if ((size_t)index >= array->len) {
        return 0;
    }
    *item = (char *)array->items + (first + index) * size;
    return size;
}

/* object[index]; MP_OBJ_NULL: to be found by mp_obj_subscr(). */
FAST_INLINE mp_obj_t fast_subscript(mp_obj_t object, mp_obj_t index) {
    if (!mp_obj_is_obj(object)) {
        return MP_OBJ_NULL;
    }
    const mp_obj_type_t *type = FAST_TYPE(object);
    if (type == &mp_type_dict) {
        mp_map_elem_t *elem = fast_map_lookup(&((mp_obj_dict_t *)MP_OBJ_TO_PTR(object))->map, index);
        if (elem == NULL) { /* a second search would call the key's __hash__ and __eq__ once more */
            mp_raise_type_arg(&mp_type_KeyError, index);
        }
        return elem->value;
    }
    if (!mp_obj_is_small_int(index)) {
        return MP_OBJ_NULL;
    }
    mp_int_t i = MP_OBJ_SMALL_INT_VALUE(index);
    if (type == &mp_type_list) {
        mp_obj_list_t *list = MP_OBJ_TO_PTR(object);
        return (size_t)i < list->len ? list->items[i] : MP_OBJ_NULL;
    }
    if (type == &mp_type_tuple) {
        mp_obj_tuple_t *tuple = MP_OBJ_TO_PTR(object);
        return (size_t)i < tuple->len ? tuple->items[i] : MP_OBJ_NULL;
    }
    void *item;
    switch (fast_item(object, type, i, false, &item)) {
        case 1:
            return MP_OBJ_NEW_SMALL_INT(*(uint8_t *)item);
        case 2:
            return MP_OBJ_NEW_SMALL_INT(*(uint16_t *)item);
        case 4:
            return MP_OBJ_NEW_SMALL_INT(*(uint32_t *)item);
        default:
            return MP_OBJ_NULL;
    }
}

/* object[index] = value, where object has such an item; false: to be done by mp_obj_subscr(). */
FAST_INLINE bool fast_subscript_store(mp_obj_t object, mp_obj_t index, mp_obj_t value) {
    if (!mp_obj_is_obj(object) || value == MP_OBJ_NULL) {
        return false;
    }
    const mp_obj_type_t *type = FAST_TYPE(object);
    if (type == &mp_type_dict) {
        mp_map_t *map = &((mp_obj_dict_t *)MP_OBJ_TO_PTR(object))->map;
        mp_map_elem_t *elem = map->is_fixed ? NULL : fast_map_hit(map, index);
        if (elem != NULL) {
            elem->value = value;
        } else {
            mp_obj_dict_store(object, index, value);
        }
        return true;
    }
    if (!mp_obj_is_small_int(index)) {
        return false;
    }
    mp_int_t i = MP_OBJ_SMALL_INT_VALUE(index);
    if (type == &mp_type_list) {
        mp_obj_list_t *list = MP_OBJ_TO_PTR(object);
        if ((size_t)i < list->len) {
            list->items[i] = value;
            return true;
        }
        return false;
    }
    void *item;
    size_t size = mp_obj_is_small_int(value) ? fast_item(object, type, i, true, &item) : 0;
    mp_uint_t number = MP_OBJ_SMALL_INT_VALUE(value);
    if (size == 0 || number >> 8 * size != 0) {
        return false;
    }
    if (size == 1) {
        *(uint8_t *)item = (uint8_t)number;
    } else if (size == 2) {
        *(uint16_t *)item = (uint16_t)number;
    } else {
        *(uint32_t *)item = (uint32_t)number;
    }
    return true;
}

/* The class of an object of a class written in Python; NULL for any other object. */
FAST_INLINE const mp_obj_type_t *fast_instance_type(mp_obj_t object) {
    if (mp_obj_is_obj(object)) {
        const mp_obj_type_t *type = FAST_TYPE(object);
        if (mp_obj_is_instance_type(type)) {
            return type;
        }
    }
    return NULL;
}

FAST_INLINE mp_map_t *fast_members(mp_obj_t instance) {
    return &((mp_obj_instance_t *)MP_OBJ_TO_PTR(instance))->members;
}

/* instance.name or module.name, if it is a hit; NULL: to be looked for elsewhere. */
FAST_INLINE mp_map_elem_t *fast_attribute(mp_obj_t object, qstr name) {
    if (!mp_obj_is_obj(object)) {
        return NULL;
    }
    if (mp_obj_is_instance_type(FAST_TYPE(object))) {
        return fast_map_hit(fast_members(object), MP_OBJ_NEW_QSTR(name));
    }
    if (FAST_TYPE(object) == &mp_type_module) {
        return fast_map_hit(&((mp_obj_module_t *)MP_OBJ_TO_PTR(object))->globals->map, MP_OBJ_NEW_QSTR(name));
    }
    return NULL;
}

/* The same to store to: only where the class has neither properties nor __setattr__ and the like. */
FAST_INLINE mp_map_elem_t *fast_attribute_to_store(mp_obj_t object, qstr name) {
    const mp_obj_type_t *type = fast_instance_type(object);
    if (type == NULL || (type->flags & MP_TYPE_FLAG_HAS_SPECIAL_ACCESSORS)) {
        return NULL;
    }
    return fast_map_hit(fast_members(object), MP_OBJ_NEW_QSTR(name));
}

/*
 * object.name to be called: dest[0] and dest[1] become what mp_load_method() would make of them. For a function of the
 * object's own class, if no object was ever given an attribute of this name; for an attribute of the object; for a
 * module's variable; for a method of a builtin class. false: to be looked for elsewhere.
 */
FAST_INLINE bool fast_method(mp_obj_t object, qstr name, mp_obj_t *dest) {
    if (!mp_obj_is_obj(object)) {
        return false;
    }
    const mp_obj_type_t *type = FAST_TYPE(object);
    mp_map_elem_t *elem = NULL;
    if (type == &mp_type_module) {
        mp_obj_module_t *module = MP_OBJ_TO_PTR(object);
        elem = fast_map_hit(&module->globals->map, MP_OBJ_NEW_QSTR(name));
    } else if (MP_OBJ_TYPE_HAS_SLOT(type, locals_dict)) {
        mp_uint_t kind = MP_TYPE_FLAG_BINDS_SELF;
        if (!mp_obj_is_instance_type(type)) {
            if (MP_OBJ_TYPE_HAS_SLOT(type, attr)) {
                return false;
            }
            kind |= MP_TYPE_FLAG_BUILTIN_FUN;
        } else if (mirage_maybe(mirage_member_names, name)) {
            elem = fast_map_hit(fast_members(object), MP_OBJ_NEW_QSTR(name));
            if (elem == NULL && mp_map_lookup(fast_members(object), MP_OBJ_NEW_QSTR(name), MP_MAP_LOOKUP) != NULL) {
                return false;
            }
        }
        if (elem == NULL) {
            elem = fast_map_hit(&MP_OBJ_TYPE_GET_SLOT(type, locals_dict)->map, MP_OBJ_NEW_QSTR(name));
            if (elem != NULL && mp_obj_is_obj(elem->value)
                && (FAST_TYPE(elem->value)->flags & (MP_TYPE_FLAG_BINDS_SELF | MP_TYPE_FLAG_BUILTIN_FUN)) == kind) {
                dest[0] = elem->value;
                dest[1] = object;
                return true;
            }
            return false;
        }
    }
    if (elem == NULL) {
        return false;
    }
    dest[0] = elem->value;
    dest[1] = MP_OBJ_NULL;
    return true;
}

FAST_INLINE mp_obj_t fast_call(mp_obj_t fun, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    if (mp_obj_is_obj(fun)) {
        const mp_obj_type_t *type = FAST_TYPE(fun);
        if (MP_OBJ_TYPE_HAS_SLOT(type, call)) {
            return MP_OBJ_TYPE_GET_SLOT(type, call)(fun, n_args, n_kw, args);
        }
    }
    return mp_call_function_n_kw(fun, n_args, n_kw, args);
}

/* A dozen variables are cleared faster in place than by a call of memset(), which the compiler would make out of this. */
FAST_INLINE void fast_clear(mp_obj_t *slot, size_t slots) {
    mp_obj_t *end = slot + slots;
    for (; end - slot >= 4; slot += 4) {
        __asm__("" : "+r" (slot));
        slot[0] = slot[1] = slot[2] = slot[3] = MP_OBJ_NULL;
    }
    for (; slot != end; slot++) {
        __asm__("" : "+r" (slot));
        *slot = MP_OBJ_NULL;
    }
}

FAST_INLINE void fast_cstack_check(void) {
    if ((size_t)(MP_STATE_THREAD(stack_top) - (char *)__builtin_frame_address(0)) >= MP_STATE_THREAD(stack_limit)) {
        mp_raise_recursion_depth();
    }
}

#endif
