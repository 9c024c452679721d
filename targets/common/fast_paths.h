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

#define FAST_TYPE(object) (((mp_obj_base_t *)MP_OBJ_TO_PTR(object))->type)

/*
 * Where in a table the key was found last. Tables of one size, as those of one class's objects mostly are, share that.
 */
static inline uint8_t *fast_map_hint(const mp_map_t *map, mp_obj_t key) {
    size_t slot = (((uintptr_t)key >> 3) + map->alloc * 61) % MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE;
    return &MP_STATE_VM(map_lookup_cache)[slot];
}

static inline mp_map_elem_t *fast_map_lookup(mp_map_t *map, mp_obj_t key) {
    size_t pos = *fast_map_hint(map, key);
    if (pos < map->alloc && map->table[pos].key == key) {
        return &map->table[pos];
    }
    return mp_map_lookup(map, key, MP_MAP_LOOKUP);
}

static inline bool fast_is_true(mp_obj_t value) {
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

/* The variable `name` of a module, or the builtin if no table ever had a variable or anything else of this name. */
static inline mp_obj_t fast_global(qstr name) {
    mp_map_t *globals = &mp_globals_get()->map;
    size_t pos = *fast_map_hint(globals, MP_OBJ_NEW_QSTR(name));
    if (pos < globals->alloc && globals->table[pos].key == MP_OBJ_NEW_QSTR(name)) {
        return globals->table[pos].value;
    }
    if (!mirage_maybe(mirage_table_names, name) && globals->all_keys_are_qstrs
        && MP_STATE_VM(mp_module_builtins_override_dict) == NULL) {
        mp_map_t *builtins = (mp_map_t *)&mp_module_builtins_globals.map;
        mp_map_elem_t *elem = fast_map_lookup(builtins, MP_OBJ_NEW_QSTR(name));
        if (elem != NULL) {
            return elem->value;
        }
    }
    return mp_load_global(name);
}

/* The octet that an index of a bytearray, or of a memoryview 'B', means; NULL: to be found by the general way. */
static inline uint8_t *fast_octet(mp_obj_t object, const mp_obj_type_t *type, mp_int_t index, bool to_write) {
    mp_obj_array_t *array = MP_OBJ_TO_PTR(object);
    size_t first = 0;
    if (type == &mp_type_memoryview) {
        if (array->typecode != ('B' | MP_OBJ_ARRAY_TYPECODE_FLAG_RW) && (to_write || array->typecode != 'B')) {
            return NULL;
        }
        first = array->free;
    } else if (type != &mp_type_bytearray) {
        return NULL;
    }
    return (size_t)index < array->len ? (uint8_t *)array->items + first + index : NULL;
}

/* object[index]; MP_OBJ_NULL: to be found by mp_obj_subscr(). */
static inline mp_obj_t fast_subscript(mp_obj_t object, mp_obj_t index) {
    if (!mp_obj_is_obj(object)) {
        return MP_OBJ_NULL;
    }
    const mp_obj_type_t *type = FAST_TYPE(object);
    if (type == &mp_type_dict) {
        mp_map_elem_t *elem = fast_map_lookup(&((mp_obj_dict_t *)MP_OBJ_TO_PTR(object))->map, index);
        return elem == NULL ? MP_OBJ_NULL : elem->value;
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
    uint8_t *octet = fast_octet(object, type, i, false);
    return octet == NULL ? MP_OBJ_NULL : MP_OBJ_NEW_SMALL_INT(*octet);
}

/* object[index] = value, where object has such an item; false: to be done by mp_obj_subscr(). */
static inline bool fast_subscript_store(mp_obj_t object, mp_obj_t index, mp_obj_t value) {
    if (!mp_obj_is_obj(object) || value == MP_OBJ_NULL) {
        return false;
    }
    const mp_obj_type_t *type = FAST_TYPE(object);
    if (type == &mp_type_dict) {
        mp_map_t *map = &((mp_obj_dict_t *)MP_OBJ_TO_PTR(object))->map;
        mp_map_elem_t *elem = map->is_fixed ? NULL : fast_map_lookup(map, index);
        if (elem != NULL) {
            elem->value = value;
        }
        return elem != NULL;
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
    uint8_t *octet = fast_octet(object, type, i, true);
    if (octet == NULL || !mp_obj_is_small_int(value) || (mp_uint_t)MP_OBJ_SMALL_INT_VALUE(value) > 0xff) {
        return false;
    }
    *octet = (uint8_t)MP_OBJ_SMALL_INT_VALUE(value);
    return true;
}

/* The class of an object of a class written in Python; NULL for any other object. */
static inline const mp_obj_type_t *fast_instance_type(mp_obj_t object) {
    if (mp_obj_is_obj(object)) {
        const mp_obj_type_t *type = FAST_TYPE(object);
        if (mp_obj_is_instance_type(type)) {
            return type;
        }
    }
    return NULL;
}

static inline mp_map_t *fast_members(mp_obj_t instance) {
    return &((mp_obj_instance_t *)MP_OBJ_TO_PTR(instance))->members;
}

/* instance.name, if it is one of its attributes; NULL: to be looked for elsewhere. */
static inline mp_map_elem_t *fast_attribute(mp_obj_t object, qstr name) {
    return fast_instance_type(object) == NULL ? NULL : fast_map_lookup(fast_members(object), MP_OBJ_NEW_QSTR(name));
}

/* The same to store to: only where the class has neither properties nor __setattr__ and the like. */
static inline mp_map_elem_t *fast_attribute_to_store(mp_obj_t object, qstr name) {
    const mp_obj_type_t *type = fast_instance_type(object);
    if (type == NULL || (type->flags & MP_TYPE_FLAG_HAS_SPECIAL_ACCESSORS)) {
        return NULL;
    }
    return fast_map_lookup(fast_members(object), MP_OBJ_NEW_QSTR(name));
}

/*
 * A function that the object's class itself defines, if no object was ever given an attribute of this name, or this one
 * was not. MP_OBJ_NULL: to be looked for elsewhere.
 */
static inline mp_obj_t fast_method(mp_obj_t object, qstr name) {
    const mp_obj_type_t *type = fast_instance_type(object);
    if (type == NULL || !MP_OBJ_TYPE_HAS_SLOT(type, locals_dict)) {
        return MP_OBJ_NULL;
    }
    mp_map_elem_t *elem = fast_map_lookup(&MP_OBJ_TYPE_GET_SLOT(type, locals_dict)->map, MP_OBJ_NEW_QSTR(name));
    if (elem == NULL || !mp_obj_is_obj(elem->value)
        || FAST_TYPE(elem->value) != &mp_type_fun_bc
        || (mirage_maybe(mirage_member_names, name)
            && fast_map_lookup(fast_members(object), MP_OBJ_NEW_QSTR(name)) != NULL)) {
        return MP_OBJ_NULL;
    }
    return elem->value;
}

static inline mp_obj_t fast_call(mp_obj_t fun, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    if (mp_obj_is_obj(fun)) {
        const mp_obj_type_t *type = FAST_TYPE(fun);
        if (MP_OBJ_TYPE_HAS_SLOT(type, call)) {
            return MP_OBJ_TYPE_GET_SLOT(type, call)(fun, n_args, n_kw, args);
        }
    }
    return mp_call_function_n_kw(fun, n_args, n_kw, args);
}

static inline void fast_cstack_check(void) {
    if ((size_t)(MP_STATE_THREAD(stack_top) - (char *)__builtin_frame_address(0)) >= MP_STATE_THREAD(stack_limit)) {
        mp_raise_recursion_depth();
    }
}

/*
 * Operations on two small integers whose result is one, or a truth value; and identity. A small integer n is the
 * machine's number 2 n + 1. MP_OBJ_NULL: to be done by mp_binary_op().
 */
static inline mp_obj_t fast_binary_op(mp_binary_op_t op, mp_obj_t lhs, mp_obj_t rhs) {
    mp_int_t left = (mp_int_t)lhs, right = (mp_int_t)rhs, result;
    if (op == MP_BINARY_OP_IS) {
        return mp_obj_new_bool(lhs == rhs);
    }
    if (!(left & right & 1)) {
        return MP_OBJ_NULL;
    }
    switch (op) {
        case MP_BINARY_OP_LESS:
            return mp_obj_new_bool(left < right);
        case MP_BINARY_OP_MORE:
            return mp_obj_new_bool(left > right);
        case MP_BINARY_OP_EQUAL:
            return mp_obj_new_bool(left == right);
        case MP_BINARY_OP_LESS_EQUAL:
            return mp_obj_new_bool(left <= right);
        case MP_BINARY_OP_MORE_EQUAL:
            return mp_obj_new_bool(left >= right);
        case MP_BINARY_OP_NOT_EQUAL:
            return mp_obj_new_bool(left != right);
        case MP_BINARY_OP_ADD:
        case MP_BINARY_OP_INPLACE_ADD:
            return __builtin_add_overflow(left, right - 1, &result) ? MP_OBJ_NULL : (mp_obj_t)result;
        case MP_BINARY_OP_SUBTRACT:
        case MP_BINARY_OP_INPLACE_SUBTRACT:
            return __builtin_sub_overflow(left, right - 1, &result) ? MP_OBJ_NULL : (mp_obj_t)result;
        case MP_BINARY_OP_AND:
        case MP_BINARY_OP_INPLACE_AND:
            return (mp_obj_t)(left & right);
        case MP_BINARY_OP_OR:
        case MP_BINARY_OP_INPLACE_OR:
            return (mp_obj_t)(left | right);
        case MP_BINARY_OP_XOR:
        case MP_BINARY_OP_INPLACE_XOR:
            return (mp_obj_t)((left ^ right) | 1);
        case MP_BINARY_OP_RSHIFT:
        case MP_BINARY_OP_INPLACE_RSHIFT:
            return (mp_uint_t)right < 2 * 63 ? (mp_obj_t)(left >> (right >> 1) | 1) : MP_OBJ_NULL;
        default:
            return MP_OBJ_NULL;
    }
}

#endif
