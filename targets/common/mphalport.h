/* SPDX-License-Identifier: MIT */
/* mphalport.h: MicroPython's hardware layer, over port_abi.h. */
#ifndef MIRAGE_MPHALPORT_H
#define MIRAGE_MPHALPORT_H

#include <stdint.h>

#include "port_abi.h"

/* plat_wait(); a request to end goes to mirage_interrupt(). */
uint32_t mirage_plat_wait(uint64_t deadline_ns);
/* Waits like plat_wait(), keeping what fired for the next _mirage.wait(). */
void mirage_wait_until(uint64_t deadline_ns);
/* The same, as MICROPY_INTERNAL_WFE: timeout_ms < 0 means until something happens. */
void mirage_idle(long timeout_ms);
/* When it last waited, on the time stamp counter: what is interrupted soon after does not spin. */
extern volatile uint64_t mirage_idle_ticks;
extern volatile bool mirage_was_spinning; /* when it was last interrupted */
/* In the place of a pending exception: plat_attend() is to be called (changes/scheduler.c.txt). */
#define MIRAGE_ATTENTION MP_OBJ_NEW_SMALL_INT(0)
/* What mirage_wait_until() kept; and takes it out. */
uint32_t mirage_take_kept_sources(void);
void mirage_keep_sources(uint32_t sources);

/* Memory of the heap for octets, with no objects in them (changes/gc.c.txt). Raises MemoryError. */
void *mirage_new_octets(size_t n_bytes);
void *mirage_renew_octets(void *octets, size_t n_bytes); /* larger */
size_t mirage_gc_allocated(void);

/* plat_wait(), which collects when nothing has happened for a while and it is worth it. */
uint32_t mirage_wait_collecting(uint64_t deadline_ns);

#if MIRAGE_FEATURE_REPL
extern bool mirage_repl_speaks; /* what is printed is the prompt's */
#endif

/* Console input passes through one small buffer, so that sys.stdin can be polled without taking anything. */
int mirage_console_read(char *data, size_t len_bytes);
int mirage_console_peek(void); /* as plat_console_read(): octets there, 0, or -1 */

/*
 * Which names any object was ever given as an attribute, and which are or were in any table (of attributes, variables,
 * or a dict), as sets that may say yes wrongly. They save the interpreter looking for methods among an object's
 * attributes, and for builtins among a module's variables: changes/ notes the names, and fast_paths.h asks.
 */
#define MIRAGE_NAMES 4096
extern uint8_t mirage_member_names[MIRAGE_NAMES / 8];
extern uint8_t mirage_table_names[MIRAGE_NAMES / 8];

static inline void mirage_note(uint8_t *names, size_t name) {
    names[name % MIRAGE_NAMES / 8] |= (uint8_t)(1 << name % 8);
}

static inline bool mirage_maybe(const uint8_t *names, size_t name) {
    return names[name % MIRAGE_NAMES / 8] >> name % 8 & 1;
}

#define mp_hal_set_interrupt_char mirage_set_interrupt_char
void mirage_set_interrupt_char(int c);

#endif
