/* SPDX-License-Identifier: MIT */
/* mphalport.h: MicroPython's hardware layer, over port_abi.h. */
#ifndef MIRAGE_MPHALPORT_H
#define MIRAGE_MPHALPORT_H

#include <stdint.h>

#include "port_abi.h"

/* Waits like plat_wait(), keeping what fired for the next _mirage.wait(). */
void mirage_wait_until(uint64_t deadline_ns);
/* The same, as MICROPY_INTERNAL_WFE: timeout_ms < 0 means until something happens. */
void mirage_idle(long timeout_ms);
/* What mirage_wait_until() kept; and takes it out. */
uint32_t mirage_take_kept_sources(void);
void mirage_keep_sources(uint32_t sources);

/* Console input passes through one small buffer, so that sys.stdin can be polled without taking anything. */
int mirage_console_read(char *data, size_t len_bytes);
int mirage_console_peek(void); /* as plat_console_read(): octets there, 0, or -1 */

/*
 * Names that any object was ever given as an attribute, as a set of bits that may say yes wrongly (patch_micropython.py: it
 * saves the interpreter looking for methods among an object's attributes).
 */
#define MIRAGE_MEMBER_NAMES 4096
extern uint8_t mirage_member_names[MIRAGE_MEMBER_NAMES / 8];

static inline void mirage_note_member(size_t name) {
    mirage_member_names[name % MIRAGE_MEMBER_NAMES / 8] |= (uint8_t)(1 << name % 8);
}

static inline bool mirage_maybe_member(size_t name) {
    return mirage_member_names[name % MIRAGE_MEMBER_NAMES / 8] >> name % 8 & 1;
}

#define mp_hal_set_interrupt_char mirage_set_interrupt_char
void mirage_set_interrupt_char(int c);

#endif
