/* SPDX-License-Identifier: MIT */
/*
 * com2.c: the second serial line (a 16550A, as console.c's), for a prompt. Looked at, without an interrupt; what nobody
 * reads is dropped after a while.
 */
#include "hvt.h"

#define COM2 0x2f8
#define DATA (COM2 + 0)
#define IER (COM2 + 1)
#define DLM (COM2 + 1)
#define FCR (COM2 + 2)
#define LCR (COM2 + 3)
#define MCR (COM2 + 4)
#define LSR (COM2 + 5)
#define FCR_ENABLE_CLEAR 0x07
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR_RTS 0x03
#define LSR_DATA_READY 0x01
#define LSR_THRE 0x20
#define WAIT_TSC_TICKS (1UL << 28) /* a tenth of a second */

static bool present, stalled;

static bool start(void) {
    static bool is_tried;
    if (!is_tried) {
        is_tried = true;
        present = inb(LSR) != 0xff;
        if (present) {
            outb(IER, 0);
            outb(LCR, LCR_DLAB);
            outb(DATA, 1); /* 115200 baud */
            outb(DLM, 0);
            outb(LCR, LCR_8N1);
            if (!(inb(LSR) & LSR_DATA_READY)) { /* as for the console: what was typed already would be lost */
                outb(FCR, FCR_ENABLE_CLEAR);
            }
            outb(MCR, MCR_DTR_RTS);
        }
    }
    return present;
}

void plat_repl_write(const char *data, size_t len_bytes) {
    if (!start()) {
        return;
    }
    for (size_t i = 0; i < len_bytes; i++) {
        uint64_t begun = rdtsc();
        while (!(inb(LSR) & LSR_THRE)) {
            if (stalled || rdtsc() - begun > WAIT_TSC_TICKS) {
                stalled = true;
                return;
            }
            cpu_pause();
        }
        stalled = false;
        outb(DATA, (uint8_t)data[i]);
    }
}

int plat_repl_read(char *data, size_t len_bytes) {
    size_t n = 0;
    if (start()) {
        while (n < len_bytes && (inb(LSR) & LSR_DATA_READY)) {
            data[n++] = (char)inb(DATA);
        }
    }
    return (int)n;
}
