/* SPDX-License-Identifier: MIT */
/*
 * console.c: COM1, a 16550A (National Semiconductor PC16550D). Output waits for the FIFO, but never for ever; input
 * arrives by interrupt, and by looking.
 */
#include "hvt.h"

#pragma GCC target("general-regs-only") /* called by an interrupt handler */

#define COM1 0x3f8
#define THR (COM1 + 0)
#define RBR (COM1 + 0)
#define DLL (COM1 + 0)
#define IER (COM1 + 1)
#define DLM (COM1 + 1)
#define IIR (COM1 + 2)
#define FCR (COM1 + 2)
#define LCR (COM1 + 3)
#define MCR (COM1 + 4)
#define LSR (COM1 + 5)
#define IER_RX 0x01
#define IIR_FIFOS 0xc0
#define FCR_ENABLE_CLEAR 0x07
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 is the gate of the interrupt line */
#define LSR_DATA_READY 0x01
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define FIFO_BYTES 16
#define WAIT_TSC_TICKS (1UL << 32) /* a second or two; works before the clock does */
#define INPUT_BYTES 256            /* a power of two */
#define CTRL_C 3

static bool present, stalled, irq_enabled, irq_held;
static uint32_t tx_fifo_bytes = 1;
static char input[INPUT_BYTES];
static uint32_t input_head, input_tail; /* count on for ever; the difference is what is waiting */
static volatile bool has_break;

void hvt_console_init(void) {
    if (inb(LSR) == 0xff) {
        return; /* nobody drives the bus: no UART */
    }
    present = true;
    outb(IER, 0);
    outb(LCR, LCR_DLAB);
    outb(DLL, 1); /* 115200 baud */
    outb(DLM, 0);
    outb(LCR, LCR_8N1);
    outb(MCR, MCR_DTR_RTS_OUT2);
    /* Turning the FIFOs on empties them. Where input is under way already, do without: output is slower then, but
     * nothing that was typed is lost. */
    if (!(inb(LSR) & LSR_DATA_READY)) {
        outb(FCR, FCR_ENABLE_CLEAR);
        if ((inb(IIR) & IIR_FIFOS) == IIR_FIFOS) {
            tx_fifo_bytes = FIFO_BYTES;
        }
    }
}

static bool wait_transmitter(uint8_t lsr_mask) {
    if (!present) {
        return false;
    }
    uint64_t start = rdtsc();
    while (!(inb(LSR) & lsr_mask)) {
        /* Whoever reads our output has stopped: drop, rather than stop with him, until he reads again. */
        if (stalled || rdtsc() - start > WAIT_TSC_TICKS) {
            stalled = true;
            return false;
        }
        cpu_pause();
    }
    stalled = false;
    return true;
}

void plat_console_write(const char *data, size_t len_bytes) {
    while (len_bytes > 0) {
        size_t n = len_bytes < tx_fifo_bytes ? len_bytes : tx_fifo_bytes;
        if (wait_transmitter(LSR_THRE)) {
            /* One string instruction: one exit to the VMM under KVM. */
            const char *at = data;
            size_t count = n;
            __asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"((uint16_t)THR) : "memory");
        }
        data += n;
        len_bytes -= n;
    }
}

void hvt_console_drain(void) {
    wait_transmitter(LSR_TEMT);
}

void hvt_console_interrupt(void) {
    if (!present) {
        return;
    }
    while (input_head - input_tail < INPUT_BYTES && (inb(LSR) & LSR_DATA_READY)) {
        char typed = (char)inb(RBR);
        has_break |= typed == CTRL_C;
        input[input_head++ % INPUT_BYTES] = typed;
    }
    /* A full ring leaves the rest in the UART, whose line would stay high and never make another edge: let it fall, and
     * plat_console_read() raises it again. */
    if (irq_enabled && input_head - input_tail == INPUT_BYTES) {
        irq_held = true;
        outb(IER, 0);
    }
}

void hvt_console_enable_irq(void) {
    irq_enabled = present;
    if (present) {
        inb(IIR);
        outb(IER, IER_RX);
    }
}

bool hvt_console_has_input(void) {
    return input_head != input_tail;
}

bool hvt_console_has_break(void) {
    return has_break;
}

void hvt_console_forget_break(void) {
    has_break = false;
}

static void let_in(void) {
    if (irq_held) {
        irq_held = false;
        outb(IER, IER_RX);
    }
}

void hvt_console_take_break(void) {
    uint64_t rflags = irq_save();
    for (bool is_found = false; !is_found && input_tail != input_head; input_tail++) {
        is_found = input[input_tail % INPUT_BYTES] == CTRL_C;
    }
    has_break = false;
    let_in();
    irq_restore(rflags);
}

int plat_console_read(char *data, size_t len_bytes) {
    size_t n = 0;
    uint64_t rflags = irq_save();
    hvt_console_interrupt();
    while (n < len_bytes && input_tail != input_head) {
        data[n++] = input[input_tail++ % INPUT_BYTES];
    }
    has_break = false;
    if (n > 0) {
        let_in();
    }
    irq_restore(rflags);
    return (int)n;
}

void hvt_print(const char *text) {
    size_t len_bytes = 0;
    while (text[len_bytes] != 0) {
        len_bytes++;
    }
    plat_console_write(text, len_bytes);
}

void hvt_print_hex(uint64_t value) {
    char digits[16];
    for (int i = 0; i < 16; i++) {
        digits[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    }
    plat_console_write(digits, sizeof(digits));
}

void hvt_print_dec(uint64_t value) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    plat_console_write(digits + at, sizeof(digits) - at);
}
