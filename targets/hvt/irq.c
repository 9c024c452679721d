/* SPDX-License-Identifier: MIT */
/*
 * irq.c: descriptors, the sources of plat_wait(), and plat_wait() itself.
 *
 * Interrupts of devices come in only inside of plat_wait(), once for all that happened meanwhile: the others' priority is
 * higher. Handlers note what fired, and plat_wait() tells. Of a request to end, and of Ctrl-C, a program hears also when
 * it never waits: mirage_attention() has the interpreter call plat_attend() behind the next jump. `sti` lets nothing in before the instruction that follows it, so between the last look at the sources and `hlt`
 * no wake-up gets lost.
 */
#include "hvt.h"

#pragma GCC target("general-regs-only") /* interrupt handlers do not save SSE state */

#define VECTOR_PIC 0x20   /* where a spurious interrupt of the masked 8259 ends */
#define VECTOR_SOURCES 0x30
#define PRIORITY_SOURCES 4 /* of the sources' vectors, and the CMOS clock's */
#define VECTOR_TIMER 0x50
#define VECTOR_BUTTON 0x51
#define VECTOR_CONSOLE 0x52
#define VECTOR_SPURIOUS 0x5f
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
#define BUTTON_AFTER_NS 1000000000UL /* when the button is looked for, of a program that does not wait */
#define STOP_PATIENCE_NS 2000000000UL /* until what holds the event loop is interrupted */
#define BREAK_INTERVAL_NS 250000000UL /* looking whether who does not read Ctrl-C spins */

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
static char interrupt_stack[4096] __attribute__((aligned(16)));

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
        set_gate(i, hvt_interrupt_stubs + 16 * (i - 32), 2);
    }
    tss.ist[0] = (uint64_t)(fault_stack + sizeof(fault_stack));
    tss.ist[1] = (uint64_t)(interrupt_stack + sizeof(interrupt_stack));
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
    hvt_ioapic_route(IRQ_COM1, VECTOR_CONSOLE);
    hvt_console_enable_irq();
}

static volatile bool is_waiting;   /* plat_wait() hears what fires */
static volatile bool is_halted;    /* an interrupt that comes in is not late */
static volatile uint64_t timer_ns; /* when the LAPIC's timer fires at the latest; 0: it is not running */
static volatile uint64_t look_ns;  /* when plat_attend() is to be called, unless plat_wait() is before; 0: never */
static uint64_t stop_due_ns;       /* when a request to end is overdue; 0: there is none */

/* Interrupts off. Setting the timer costs an exit. One that will fire earlier stays: it wakes us on the way. */
static void wake_at(uint64_t at_ns, uint64_t now_ns) {
    if (timer_ns == 0 || timer_ns > at_ns) {
        uint64_t ticks = hvt_lapic_ticks(at_ns - now_ns);
        hvt_lapic_start(ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks);
        timer_ns = at_ns;
    }
}

static void look_at(uint64_t at_ns) {
    uint64_t rflags = irq_save(), now_ns = plat_monotonic_ns();
    look_ns = at_ns;
    if (at_ns != 0) {
        wake_at(at_ns > now_ns ? at_ns : now_ns, now_ns);
    }
    irq_restore(rflags);
}

void hvt_irq_start(void) {
    look_at(plat_monotonic_ns() + BUTTON_AFTER_NS);
    set_priority(PRIORITY_SOURCES);
    __asm__ volatile("sti" : : : "memory");
}

static uint32_t button_line = IRQ_NONE;

/* When the machine first has nothing to do, or is busy for long: a start need not wait for it. */
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
    bool is_due = false;
    if (vector == VECTOR_TIMER) {
        timer_ns = 0;
        is_due = look_ns != 0;
    } else if (vector == VECTOR_BUTTON) {
        look_at_button();
    } else if (vector == VECTOR_CMOS) {
        hvt_wall_second_begins(is_halted);
    } else if (vector == VECTOR_CONSOLE) {
        hvt_console_interrupt();
        if (hvt_console_has_input()) {
            fired |= 1u << PLAT_SOURCE_CONSOLE;
        }
    } else if (vector > VECTOR_SOURCES && vector <= VECTOR_SOURCES + PLAT_SOURCE_MAX) {
        uint32_t source = (uint32_t)vector - VECTOR_SOURCES;
        if (source_line[source] != IRQ_NONE) {
            hvt_ioapic_mask(source_line[source]);
            if (source_line[source] == button_line && hvt_button_pressed()) {
                fired |= 1u << PLAT_SOURCE_STOP;
            }
        }
        fired |= 1u << source;
    }
    if (!is_waiting && (is_due || fired >> PLAT_SOURCE_STOP || hvt_console_has_break())) {
        mirage_attention();
    }
    /* A spurious interrupt wants no end-of-interrupt (SDM vol. 3, 11.9), nor does one of the 8259. */
    if (vector >= VECTOR_SOURCES && vector != VECTOR_SPURIOUS) {
        hvt_lapic_eoi();
    }
}

void plat_attend(void) {
    watch_button();
    uint64_t rflags = irq_save(), now_ns = plat_monotonic_ns();
    bool is_pressed = fired >> PLAT_SOURCE_STOP;
    fired &= ~(1u << PLAT_SOURCE_STOP);
    irq_restore(rflags);
    if (is_pressed) {
        stop_due_ns = now_ns + STOP_PATIENCE_NS;
        mirage_interrupt(MIRAGE_EXIT_TERMINATED);
    } else if (stop_due_ns != 0 && now_ns >= stop_due_ns) {
        stop_due_ns = 0;
        mirage_stop_overdue();
    }
    uint64_t next_ns = stop_due_ns;
    if (hvt_console_has_break() && mirage_spins()) {
        hvt_console_take_break();
        mirage_interrupt(MIRAGE_EXIT_INTERRUPTED);
    } else if (hvt_console_has_break() && (next_ns == 0 || next_ns > now_ns + BREAK_INTERVAL_NS)) {
        next_ns = now_ns + BREAK_INTERVAL_NS;
    }
    look_at(next_ns);
}

/* Interrupts off, and on while it sleeps. */
static uint32_t wait(uint64_t deadline_ns) {
    for (;;) {
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
        if (left_ns <= PLAT_NO_DEADLINE / 2) {
            wake_at(now_ns + left_ns, now_ns);
        }
        is_halted = true;
        __asm__ volatile("sti; hlt; cli" : : : "memory");
        is_halted = false;
    }
}

uint32_t plat_wait(uint64_t deadline_ns) {
    watch_button();
    is_waiting = true;
    set_priority(0); /* what waits in the APIC comes in here */
    __asm__ volatile("cli" : : : "memory");
    uint32_t result = wait(stop_due_ns != 0 && stop_due_ns < deadline_ns ? stop_due_ns : deadline_ns);
    is_waiting = false;
    hvt_console_forget_break(); /* who waits, hears */
    look_ns = 0;
    set_priority(PRIORITY_SOURCES);
    __asm__ volatile("sti" : : : "memory");
    if (result >> PLAT_SOURCE_STOP) {
        stop_due_ns = plat_monotonic_ns() + STOP_PATIENCE_NS;
    }
    if (stop_due_ns != 0) {
        if (plat_monotonic_ns() >= stop_due_ns) {
            stop_due_ns = 0;
            mirage_stop_overdue();
        } else {
            look_at(stop_due_ns);
        }
    }
    return result;
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
