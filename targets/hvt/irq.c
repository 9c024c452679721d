/* SPDX-License-Identifier: MIT */
/*
 * irq.c: descriptors, the sources of plat_wait(), and plat_wait() itself.
 *
 * Interrupts are off everywhere but in one window of plat_wait(): what fires meanwhile waits in the APIC. `sti` lets
 * nothing in before the instruction that follows it, so between the last look at the sources and `hlt` no wake-up
 * gets lost.
 */
#include "hvt.h"

#pragma GCC target("general-regs-only") /* interrupt handlers do not save SSE state */

#define VECTOR_PIC 0x20   /* where a spurious interrupt of the masked 8259 ends */
#define VECTOR_TIMER 0x30
#define VECTOR_BUTTON 0x31
#define VECTOR_SPURIOUS 0x3f
#define VECTOR_SOURCES 0x40
#define VECTOR_COUNT 0x60
#define IRQ_COM1 4
#define IRQ_CASCADE 2
#define IRQ_NONE 0xff
#define ISA_LINES 16
#define MSI_ADDRESS 0xfee00000u

#define PIC1 0x20
#define PIC2 0xa0

#define BUTTON_FALSE_ALARMS 100 /* interrupts of nobody, after which the line is taken for broken */
#define POLL_INTERVAL_NS 20000000UL /* looking for console input, where no I/O APIC tells */

extern char hvt_exception_stubs[], hvt_interrupt_stubs[];
extern uint64_t hvt_gdt[];
void hvt_interrupt(uint64_t vector);

typedef struct {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_mid;
    uint32_t offset_high, reserved;
} gate_t;

static gate_t idt[VECTOR_COUNT];
static struct {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, io_bitmap;
} __attribute__((packed, aligned(4))) tss;
static char fault_stack[8192] __attribute__((aligned(16)));

static volatile uint32_t fired;
static uint32_t next_source = PLAT_SOURCE_CONSOLE + 1;
static uint8_t source_line[PLAT_SOURCE_MAX + 1]; /* the INTx line behind a source, or IRQ_NONE */

static void set_gate(int vector, const char *stub, uint8_t ist) {
    uint64_t at = (uint64_t)stub;
    idt[vector] = (gate_t){(uint16_t)at, 8, ist, 0x8e, (uint16_t)(at >> 16), (uint32_t)(at >> 32), 0};
}

void hvt_descriptors_init(void) {
    for (int i = 0; i < 32; i++) {
        set_gate(i, hvt_exception_stubs + 16 * i, 1);
    }
    for (int i = 32; i < VECTOR_COUNT; i++) {
        set_gate(i, hvt_interrupt_stubs + 16 * (i - 32), 0);
    }
    tss.ist[0] = (uint64_t)(fault_stack + sizeof(fault_stack));
    tss.io_bitmap = sizeof(tss);
    uint64_t base = (uint64_t)&tss;
    hvt_gdt[3] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89UL << 40 | (base >> 24 & 0xff) << 56;
    hvt_gdt[4] = base >> 32;
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};
    __asm__ volatile("lidt %0; ltr %w1" : : "m"(pointer), "r"(24) : "memory");
}

/* The 8259 pair, where there is one, stays masked: the I/O APIC has the same lines. Its vectors are moved away from the
 * exceptions all the same, for it may still make a spurious interrupt. */
static void pic_mask(void) {
    static const uint8_t words[][2] = {
        {PIC1, 0x11}, {PIC1 + 1, VECTOR_PIC},     {PIC1 + 1, 4}, {PIC1 + 1, 1}, {PIC1 + 1, 0xff},
        {PIC2, 0x11}, {PIC2 + 1, VECTOR_PIC + 8}, {PIC2 + 1, 2}, {PIC2 + 1, 1}, {PIC2 + 1, 0xff},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        outb(words[i][0], words[i][1]);
    }
}

void hvt_irq_init(void) {
    pic_mask();
    hvt_apic_init(VECTOR_TIMER, VECTOR_SPURIOUS);
    for (size_t i = 0; i < ARRAY_LEN(source_line); i++) {
        source_line[i] = IRQ_NONE;
    }
    if (hvt_ioapic_lines() == 0) {
        return;
    }
    hvt_ioapic_route(IRQ_COM1, VECTOR_SOURCES + PLAT_SOURCE_CONSOLE);
    hvt_console_enable_irq();
}

static bool is_halted;      /* an interrupt that comes in is not late */
static uint64_t timer_ns; /* when the LAPIC's timer fires at the latest; 0: it is not running */

static uint32_t button_line = IRQ_NONE;

/* When the machine first has nothing to do: a start need not wait for it. */
static void watch_button(void) {
    static bool is_done;
    uint32_t line, mode;
    if (is_done) {
        return;
    }
    is_done = true;
    if (hvt_ioapic_lines() == 0 || !hvt_button_init(&line, &mode) || line >= hvt_ioapic_lines() || line == IRQ_COM1) {
        return;
    }
    button_line = line;
    for (uint32_t i = PLAT_SOURCE_CONSOLE + 1; i < next_source; i++) {
        if (source_line[i] == line) {
            return; /* it is a PCI function's too */
        }
    }
    hvt_ioapic_route(line, VECTOR_BUTTON | mode);
}

static void look_at_button(void) {
    static uint32_t false_alarms;
    if (hvt_button_pressed()) {
        fired |= 1u << PLAT_SOURCE_STOP;
    } else if (++false_alarms == BUTTON_FALSE_ALARMS) {
        hvt_ioapic_mask(button_line);
    }
}

/* Called by vectors.S, interrupts off. */
void hvt_interrupt(uint64_t vector) {
    if (vector == VECTOR_TIMER) {
        timer_ns = 0;
    } else if (vector == VECTOR_BUTTON) {
        look_at_button();
    } else if (vector == VECTOR_CMOS) {
        hvt_wall_second_begins(is_halted);
    }
    if (vector >= VECTOR_SOURCES) {
        uint32_t source = (uint32_t)vector - VECTOR_SOURCES;
        if (source == PLAT_SOURCE_CONSOLE) {
            hvt_console_interrupt();
            if (hvt_console_has_input()) {
                fired |= 1u << PLAT_SOURCE_CONSOLE;
            }
        } else {
            if (source_line[source] != IRQ_NONE) {
                hvt_ioapic_mask(source_line[source]);
                if (source_line[source] == button_line && hvt_button_pressed()) {
                    fired |= 1u << PLAT_SOURCE_STOP;
                }
            }
            fired |= 1u << source;
        }
    }
    /* A spurious interrupt wants no end-of-interrupt (SDM vol. 3, 11.9), nor does one of the 8259. */
    if (vector >= VECTOR_TIMER && vector != VECTOR_SPURIOUS) {
        hvt_lapic_eoi();
    }
}

uint32_t plat_wait(uint64_t deadline_ns) {
    watch_button();
    for (;;) {
        /* What waits in the APIC comes in here. */
        __asm__ volatile("sti; nop; cli" : : : "memory");
        if (hvt_ioapic_lines() == 0) {
            hvt_console_interrupt();
            fired |= hvt_console_has_input() ? 1u << PLAT_SOURCE_CONSOLE : 0;
        }
        uint32_t result = fired;
        if (result != 0) {
            fired = 0;
            return result;
        }
        uint64_t now_ns = plat_monotonic_ns();
        if (now_ns >= deadline_ns) {
            return 0;
        }
        uint64_t left_ns = deadline_ns - now_ns;
        if (hvt_ioapic_lines() == 0 && left_ns > POLL_INTERVAL_NS) {
            left_ns = POLL_INTERVAL_NS;
        }
        /* Setting the timer costs an exit. One that will fire earlier stays: it wakes us on the way. */
        if (left_ns <= PLAT_NO_DEADLINE / 2 && (timer_ns == 0 || timer_ns > now_ns + left_ns)) {
            uint64_t ticks = hvt_lapic_ticks(left_ns);
            hvt_lapic_start(ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks);
            timer_ns = now_ns + left_ns;
        }
        is_halted = true;
        __asm__ volatile("sti; hlt; cli" : : : "memory");
        is_halted = false;
    }
}

bool plat_irq_alloc(int *source, uint64_t *address, uint32_t *data) {
    if (next_source > PLAT_SOURCE_MAX) {
        return false;
    }
    *source = (int)next_source++;
    *address = MSI_ADDRESS | hvt_lapic_id() << 12;
    *data = VECTOR_SOURCES + (uint32_t)*source; /* edge, fixed delivery */
    return true;
}

bool plat_irq_legacy(uint32_t line, int *source) {
    /* Firmware writes 0 or 255 where it routed nothing; the cascade and COM1 are not PCI's. */
    if (line == 0 || line >= hvt_ioapic_lines() || line == IRQ_CASCADE || line == IRQ_COM1) {
        return false;
    }
    for (uint32_t i = PLAT_SOURCE_CONSOLE + 1; i < next_source; i++) {
        if (source_line[i] == line) {
            *source = (int)i; /* shared, as INTx lines are */
            return true;
        }
    }
    if (next_source > PLAT_SOURCE_MAX) {
        return false;
    }
    *source = (int)next_source++;
    source_line[*source] = (uint8_t)line;
    plat_irq_legacy_unmask(*source);
    return true;
}

void plat_irq_legacy_unmask(int source) {
    if (source <= PLAT_SOURCE_CONSOLE || source > PLAT_SOURCE_MAX || source_line[source] == IRQ_NONE) {
        return;
    }
    /* PCI lines routed to an ISA one are level-triggered and, by the chipset's inverter, active high. */
    uint32_t polarity = source_line[source] < ISA_LINES ? 0 : IOAPIC_ACTIVE_LOW;
    hvt_ioapic_route(source_line[source], (VECTOR_SOURCES + (uint32_t)source) | IOAPIC_LEVEL | polarity);
}
