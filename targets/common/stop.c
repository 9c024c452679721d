/* SPDX-License-Identifier: MIT */
/*
 * stop.c: what ends the application from outside: KeyboardInterrupt, and Terminated, a SystemExit(143). Who runs an
 * event loop asks to be told of a request to end at a place that suits it, once; the next request is not that polite.
 */

#include "mphalport.h"

#include "py/objexcept.h"
#include "py/runtime.h"

#include "modmirage.h"

MP_DEFINE_EXCEPTION(Terminated, SystemExit)

/* Made at start: a signal handler cannot allocate. */
MP_REGISTER_ROOT_POINTER(mp_obj_t mirage_stop_exception);

static volatile bool is_deferred; /* _mirage.wait() is to raise it */
static volatile bool is_asked;
static volatile bool is_told;

void mirage_stop_start(void) {
    mp_obj_t code = MP_OBJ_NEW_SMALL_INT(MIRAGE_EXIT_TERMINATED);
    MP_STATE_VM(mirage_stop_exception) = mp_obj_exception_make_new(&mp_type_Terminated, 1, 0, &code);
    is_deferred = is_asked = is_told = false;
}

#define SPINS_TICKS (1u << 30) /* a quarter of a second or more, whatever the processor */

volatile uint64_t mirage_idle_ticks;
volatile bool mirage_was_spinning;

bool mirage_spins(void) {
    return __builtin_ia32_rdtsc() - mirage_idle_ticks > SPINS_TICKS;
}

void mirage_interrupt(int exit_code) {
    mirage_was_spinning = mirage_spins();
    if (exit_code == MIRAGE_EXIT_INTERRUPTED) {
        mp_sched_keyboard_interrupt();
    } else if (MP_STATE_VM(mirage_stop_exception) != MP_OBJ_NULL) {
        if (is_deferred && !is_asked) {
            is_asked = true;
        } else {
            mp_sched_exception(MP_STATE_VM(mirage_stop_exception));
        }
    }
}

void mirage_stop_overdue(void) {
    if (is_asked && !is_told) {
        is_told = true;
        mirage_was_spinning = true; /* by now, whatever it did when it was asked */
        mp_sched_exception(MP_STATE_VM(mirage_stop_exception));
    }
}

#if MIRAGE_TARGET_HVT
/* Beside an exception that is on its way nothing need be done soon. */
__attribute__((target("general-regs-only"))) void mirage_attention(void) {
    if (MP_STATE_MAIN_THREAD(mp_pending_exception) == MP_OBJ_NULL) {
        MP_STATE_MAIN_THREAD(mp_pending_exception) = MIRAGE_ATTENTION;
    }
}
#endif

bool mirage_stop_is_due(void) {
    return is_asked && !is_told;
}

__attribute__((noreturn)) void mirage_raise_stop(void) {
    is_told = true;
    nlr_raise(MP_STATE_VM(mirage_stop_exception));
}

/* defer_stop(is_deferred): from now on wait() raises Terminated when the application is asked to end, and nobody else */
static mp_obj_t mirage_defer_stop(mp_obj_t value) {
    is_deferred = mp_obj_is_true(value);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_defer_stop_obj, mirage_defer_stop);
