/* SPDX-License-Identifier: MIT */
/*
 * collect.c: when to collect.
 *
 * Memory that no cache has seen for long costs more to fill than a small collection to make. So one is made after as much
 * has been allocated as is in use, but not before GC_PACE_BYTES; a program that calls gc.threshold() has its own way. And
 * one is made while nothing else is to be done: what is allocated after it is low in the heap again (heap_search.h),
 * among what has come free meanwhile.
 */

#include "mphalport.h"

#include "py/gc.h"
#include "py/mpstate.h"
#include "shared/runtime/gchelper.h"

#include "modmirage.h"

#define GC_PACE_BYTES ((size_t)4 << 20)
#define QUIET_NS 200000000u    /* what comes next may take its time */
#define INTERVAL_NS 5000000000 /* between collections of little; or this many times what one takes */
#define INTERVAL_TIMES 1000
#define LITTLE 2               /* of 1024 of the heap */
#define MUCH 128

extern size_t mirage_gc_used_blocks; /* changes/gc.c.txt: what the last collection left */
static size_t gc_pace_blocks;
static uint64_t ended_ns, took_ns;

static void set_gc_pace(void) {
    if (MP_STATE_MEM(gc_alloc_threshold) == gc_pace_blocks) {
        gc_pace_blocks = MAX(GC_PACE_BYTES / MICROPY_BYTES_PER_GC_BLOCK, mirage_gc_used_blocks);
        MP_STATE_MEM(gc_alloc_threshold) = gc_pace_blocks;
    }
}

void mirage_collect_start(void) {
    gc_pace_blocks = MP_STATE_MEM(gc_alloc_threshold);
    set_gc_pace();
}

void gc_collect(void) {
    uint64_t begun_ns = plat_monotonic_ns();
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
    set_gc_pace();
    ended_ns = plat_monotonic_ns();
    took_ns = ended_ns - begun_ns;
}

uint32_t mirage_wait_collecting(uint64_t deadline_ns) {
    size_t allocated = mirage_gc_allocated();
    if (allocated >= LITTLE) {
        uint64_t quiet_ns = plat_monotonic_ns() + QUIET_NS;
        uint64_t due_ns = allocated >= MUCH ? 0 : ended_ns + MAX((uint64_t)INTERVAL_NS, INTERVAL_TIMES * took_ns);
        quiet_ns = MAX(quiet_ns, due_ns);
        if (quiet_ns < deadline_ns) {
            uint32_t fired = mirage_plat_wait(quiet_ns);
            if (fired != 0 || MP_STATE_THREAD(mp_pending_exception) != MP_OBJ_NULL || mirage_stop_is_due()
                || plat_monotonic_ns() < quiet_ns) {
                return fired;
            }
            gc_collect();
        }
    }
    return mirage_plat_wait(deadline_ns);
}
