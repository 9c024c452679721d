/* SPDX-License-Identifier: MIT */
/*
 * steps.c: names the task that holds the event loop. asyncio's queue tells of each task that it hands out
 * (changes/modasyncio.c.txt), and _mirage.wait() of each sleep; the time stamp counter, which is read in a few
 * nanoseconds, says when a look at the clock is worth it.
 */

#include "mphalport.h"

#include "py/bc.h"
#include "py/objfun.h"
#include "py/objgenerator.h"
#include "py/runtime.h"

#include "modmirage.h"

#define HELD_MS 2000
#define HELD_TICKS_MIN (1u << 30) /* less than two seconds, whatever the processor */
#define NAMES_MAX 8

MP_REGISTER_ROOT_POINTER(mp_obj_t mirage_step_queue);
MP_REGISTER_ROOT_POINTER(mp_obj_t mirage_step_coroutine);
/* The function that it awaited when its turn came: once it has ended, its coroutine does not tell any more. */
MP_REGISTER_ROOT_POINTER(const void *mirage_step_function);

static uint64_t step_ticks;
static uint64_t first_ticks, first_ns; /* how fast the counter is: since when it was looked at beside the clock */

static void print_names(mp_obj_t coroutine) {
    const mp_obj_fun_bc_t *function = mirage_coroutine_function(coroutine, &coroutine);
    mp_printf(&mp_plat_print, "%q", mp_obj_fun_get_name(MP_OBJ_FROM_PTR((void *)function)));
    if (coroutine == MP_OBJ_NULL && MP_STATE_VM(mirage_step_function) != NULL) {
        mp_printf(&mp_plat_print, " > %q", mp_obj_fun_get_name(MP_OBJ_FROM_PTR((void *)MP_STATE_VM(mirage_step_function))));
    }
    for (int i = 0; i < NAMES_MAX && coroutine != MP_OBJ_NULL; i++) {
        function = mirage_coroutine_function(coroutine, &coroutine);
        if (function == NULL) {
            break;
        }
        mp_printf(&mp_plat_print, " > %q", mp_obj_fun_get_name(MP_OBJ_FROM_PTR((void *)function)));
    }
}

static __attribute__((noinline)) void look_at_clock(uint64_t now_ticks) {
    uint64_t now_ns = plat_monotonic_ns();
    double ns_per_tick = (double)(now_ns - first_ns) / (double)(now_ticks - first_ticks);
    unsigned held_ms = (unsigned)((double)(now_ticks - step_ticks) * ns_per_tick / 1e6);
    if (held_ms >= HELD_MS) {
        mp_print_str(&mp_plat_print, "loop: warning: the task ");
        print_names(MP_STATE_VM(mirage_step_coroutine));
        mp_printf(&mp_plat_print, " held the loop for %u.%u s\n", held_ms / 1000, held_ms % 1000 / 100);
    }
}

void mirage_step(mp_obj_t queue, mp_obj_t coroutine) {
    if (queue != MP_STATE_VM(mirage_step_queue)) {
        return;
    }
    uint64_t now_ticks = __builtin_ia32_rdtsc();
    if (now_ticks - step_ticks > HELD_TICKS_MIN && MP_STATE_VM(mirage_step_coroutine) != MP_OBJ_NULL) {
        look_at_clock(now_ticks);
    }
    step_ticks = now_ticks;
    MP_STATE_VM(mirage_step_coroutine) = coroutine;
    MP_STATE_VM(mirage_step_function) = NULL;
    if (coroutine != MP_OBJ_NULL) {
        mp_obj_t awaited;
        mirage_coroutine_function(coroutine, &awaited);
        if (awaited != MP_OBJ_NULL) {
            MP_STATE_VM(mirage_step_function) = mirage_coroutine_function(awaited, &awaited);
        }
    }
}

void mirage_steps_pause(void) {
    mirage_step(MP_STATE_VM(mirage_step_queue), MP_OBJ_NULL);
}

/* watch_steps(queue): the queue out of which the event loop takes the tasks that are to go on */
static mp_obj_t mirage_watch_steps(mp_obj_t queue) {
    MP_STATE_VM(mirage_step_queue) = queue;
    MP_STATE_VM(mirage_step_coroutine) = MP_OBJ_NULL;
    first_ticks = step_ticks = __builtin_ia32_rdtsc();
    first_ns = plat_monotonic_ns();
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_watch_steps_obj, mirage_watch_steps);
