/* SPDX-License-Identifier: MIT */
/* mirage_main.c: brings MicroPython up, runs the frozen module `main`, and says with which exit code it ended. */

#include "py/builtin.h"
#include "py/cstack.h"
#include "py/gc.h"
#include "py/lexer.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/mpstate.h"
#include "py/runtime.h"
#include "shared/runtime/gchelper.h"

#if MIRAGE_FEATURE_REPL
#include "shared/runtime/pyexec.h"
#endif

#include "modmirage.h"

/*
 * When to collect. Next-fit allocation goes through all of a heap before it comes back to where it began, and memory
 * that no cache has seen for long costs more to fill than a small collection to make. So one is made after as much has
 * been allocated as is in use, but not before GC_PACE_BYTES; a program that calls gc.threshold() has its own way.
 */
#define GC_PACE_BYTES ((size_t)4 << 20)

extern size_t mirage_gc_used_blocks; /* patch_micropython.py: what the last collection left */
static size_t gc_pace_blocks;

static void set_gc_pace(void) {
    if (MP_STATE_MEM(gc_alloc_threshold) == gc_pace_blocks) {
        gc_pace_blocks = MAX(GC_PACE_BYTES / MICROPY_BYTES_PER_GC_BLOCK, mirage_gc_used_blocks);
        MP_STATE_MEM(gc_alloc_threshold) = gc_pace_blocks;
    }
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
    set_gc_pace();
}

/* CPython's meaning of SystemExit's argument. */
static int exit_code_of(mp_obj_t value) {
    if (value == mp_const_none) {
        return MIRAGE_EXIT_OK;
    }
    mp_int_t code;
    if (mp_obj_get_int_maybe(value, &code)) {
        return code & 0xff;
    }
    mp_obj_print(value, PRINT_STR);
    mp_print_str(&mp_plat_print, "\n");
    return MIRAGE_EXIT_UNCAUGHT;
}

static int code_and_report(mp_obj_t exception) {
    const mp_obj_type_t *type = mp_obj_get_type(exception);
    if (mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(type), MP_OBJ_FROM_PTR(&mp_type_SystemExit))) {
        return exit_code_of(mp_obj_exception_get_value(exception));
    }
    if (mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(type), MP_OBJ_FROM_PTR(&mp_type_KeyboardInterrupt))) {
        return MIRAGE_EXIT_INTERRUPTED;
    }
    mp_obj_print_exception(&mp_plat_print, exception);
    return MIRAGE_EXIT_UNCAUGHT;
}

static int report(mp_obj_t exception) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) { /* its __str__ raised, or there was no memory for it */
        mp_print_str(&mp_plat_print, "(an exception that cannot be printed)\n");
        return MIRAGE_EXIT_UNCAUGHT;
    }
    int code = code_and_report(exception);
    nlr_pop();
    return code;
}

#if MIRAGE_FEATURE_REPL
#define SOFT_RESET (-1)

/* Until Ctrl-D, or the end of the input. */
static int run_repl(void) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        mp_obj_t type = MP_OBJ_FROM_PTR(mp_obj_get_type(MP_OBJ_FROM_PTR(nlr.ret_val)));
        return type == MP_OBJ_FROM_PTR(&mp_type_EOFError) ? MIRAGE_EXIT_OK : report(MP_OBJ_FROM_PTR(nlr.ret_val));
    }
    int end;
    do {
        end = pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl();
    } while (end == 0);
    nlr_pop();
    return SOFT_RESET;
}
#endif

static int run_main(void) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        return report(MP_OBJ_FROM_PTR(nlr.ret_val));
    }
    mirage_stop_start();
    mp_obj_t import_args[] = {MP_OBJ_NEW_QSTR(MP_QSTR_main)};
    mp_builtin___import__(MP_ARRAY_SIZE(import_args), import_args);
    mp_handle_pending(true);
    nlr_pop();
    return MIRAGE_EXIT_OK;
}

static int run(int argc, char **argv) {
    void *heap;
    size_t heap_bytes;
    plat_heap(&heap, &heap_bytes);
    gc_init(heap, (char *)heap + heap_bytes);
    gc_pace_blocks = MP_STATE_MEM(gc_alloc_threshold);
    set_gc_pace();
    mp_init();
    mirage_set_args(argc, argv);
    return run_main();
}

int mirage_main(int argc, char **argv) {
    void *stack_top;
    size_t stack_bytes;
    plat_stack(&stack_top, &stack_bytes);
    mp_cstack_init_with_top(stack_top, stack_bytes);
    int code = run(argc, argv);
    #if MIRAGE_FEATURE_REPL
    while ((code = run_repl()) == SOFT_RESET) {
        /* What MicroPython's test runner waits for, in these words. */
        mp_hal_stdout_tx_str("MPY: soft reboot\r\n");
        mp_deinit();
        run(argc, argv);
    }
    #endif
    return code;
}

/* --- what MicroPython asks of a port ------------------------------------------------------------------------------ */

mp_import_stat_t mp_import_stat(const char *path) {
    (void)path;
    return MP_IMPORT_STAT_NO_EXIST; /* everything is frozen */
}

/* open(): a program finds that its file is not there, and does what it does then. */
static mp_obj_t mirage_open(size_t n_args, const mp_obj_t *args, mp_map_t *kwargs) {
    (void)n_args;
    (void)args;
    (void)kwargs;
    mp_raise_OSError(MP_ENOENT);
}
MP_DEFINE_CONST_FUN_OBJ_KW(mp_builtin_open_obj, 1, mirage_open);

void mirage_refuse_machine_code(void) {
    mp_raise_msg(&mp_type_NotImplementedError, MP_ERROR_TEXT("native code is compiled by mpy-cross"));
}

#if MICROPY_ENABLE_COMPILER
mp_lexer_t *mp_lexer_new_from_file(qstr filename) {
    (void)filename;
    mp_raise_OSError(MP_ENOENT);
}
#endif

void nlr_jump_fail(void *value) {
    mp_print_str(&mp_plat_print, "fatal: an exception outside of any handler\n");
    report(MP_OBJ_FROM_PTR(value));
    plat_exit(MIRAGE_EXIT_FAULT);
}
