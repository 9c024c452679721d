/* SPDX-License-Identifier: MIT */
/*
 * repl.c: MicroPython's prompt, fed by the event loop with what has been typed (libos/hal/repl.py). What it prints goes where
 * it was typed; the application's own output stays on the console.
 */

#include "mphalport.h"

#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/runtime/pyexec.h"

#include "modmirage.h"

#define OCTETS_AT_ONCE 64

static bool is_started;

void mirage_repl_reset(void) {
    is_started = mirage_repl_speaks = false;
}

static void feed(int c) {
    mirage_repl_speaks = true;
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        if (!is_started || (pyexec_event_repl_process_char(c) & PYEXEC_FORCED_EXIT)) {
            /* Ctrl-D and SystemExit begin anew: the application goes on. */
            is_started = true;
            pyexec_event_repl_init();
        }
        nlr_pop();
        mirage_repl_speaks = false;
    } else {
        mirage_repl_speaks = false;
        nlr_jump(nlr.ret_val);
    }
}

/* repl_poll() -> bool: takes what has been typed; whether there was something */
static mp_obj_t mirage_repl_poll(void) {
    char typed[OCTETS_AT_ONCE];
    if (!is_started) {
        feed(0);
    }
    int n = plat_repl_read(typed, sizeof(typed));
    for (int i = 0; i < n; i++) {
        feed((unsigned char)typed[i]);
    }
    return mp_obj_new_bool(n > 0);
}
MP_DEFINE_CONST_FUN_OBJ_0(mirage_repl_poll_obj, mirage_repl_poll);
