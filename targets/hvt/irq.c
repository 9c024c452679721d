/* SPDX-License-Identifier: MIT */
/*
 * irq.c: descriptors, the local APIC and its timer, the I/O APIC, the sources of plat_wait(), and plat_wait() itself.
 *
 * Interrupts are off everywhere but in one window of plat_wait(): what fires meanwhile waits in the APIC. `sti` lets
 * nothing in before the instruction that follows it, so between the last look at the sources and `hlt` no wake-up
 * gets lost.
 */
#include "hvt.h"

#pragma GCC target("general-regs-only") /* interrupt handlers do not save SSE state */

#define VECTOR_PIC 0x20   /* where a spurious interrupt of the masked 8259 ends */
#define VECTOR_TIMER 0x30
#define VECTOR_SPURIOUS 0x3f
#define VECTOR_SOURCES 0x40
#define VECTOR_COUNT 0x60
#define IRQ_COM1 4
#define IRQ_CASCADE 2
#define IRQ_NONE 0xff

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_ENABLE (1UL << 11)
#define APIC_BASE_EXTD (1UL << 10) /* x2APIC mode */
#define MSR_X2APIC 0x800
#define LAPIC_ID 0x020
#define LAPIC_TPR 0x080
#define LAPIC_EOI 0x0b0
#define LAPIC_SVR 0x0f0
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_LVT_LINT0 0x350
#define LAPIC_LVT_ERROR 0x370
#define LAPIC_TIMER_INITIAL 0x380
#define LAPIC_TIMER_CURRENT 0x390
#define LAPIC_TIMER_DIVIDE 0x3e0
#define SVR_ENABLE 0x100
#define LVT_MASKED 0x10000
#define DIVIDE_BY_16 3
#define MSI_ADDRESS 0xfee00000u

#define IOAPIC_BASE 0xfec00000UL /* where every PC chipset and VMM has it */
#define IOAPIC_INDEX (IOAPIC_BASE + 0x00)
#define IOAPIC_DATA (IOAPIC_BASE + 0x10)
#define IOAPIC_VERSION 1
#define IOAPIC_ENTRY(line) (0x10 + 2 * (line))
#define ENTRY_MASKED (1u << 16)
#define ENTRY_LEVEL (1u << 15)
#define ENTRY_ACTIVE_LOW (1u << 13)
#define ISA_LINES 16

#define PIC1 0x20
#define PIC2 0xa0

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

static bool x2apic;
static uint64_t lapic_base;
static uint32_t ioapic_lines; /* 0: there is none */
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

static uint32_t lapic_read(uint32_t reg) {
    return x2apic ? (uint32_t)rdmsr(MSR_X2APIC + (reg >> 4)) : mmio_read32(lapic_base + reg);
}

static void lapic_write(uint32_t reg, uint32_t value) {
    if (x2apic) {
        wrmsr(MSR_X2APIC + (reg >> 4), value);
    } else {
        mmio_write32(lapic_base + reg, value);
    }
}

static uint32_t lapic_id(void) {
    return x2apic ? lapic_read(LAPIC_ID) & 0xff : lapic_read(LAPIC_ID) >> 24;
}

uint64_t hvt_lapic_ticks_left(void) {
    return lapic_read(LAPIC_TIMER_CURRENT);
}

void hvt_lapic_start(uint32_t ticks) {
    lapic_write(LAPIC_TIMER_INITIAL, ticks);
}

static uint32_t ioapic_read(uint32_t reg) {
    mmio_write32(IOAPIC_INDEX, reg);
    return mmio_read32(IOAPIC_DATA);
}

static void ioapic_write(uint32_t reg, uint32_t value) {
    mmio_write32(IOAPIC_INDEX, reg);
    mmio_write32(IOAPIC_DATA, value);
}

static void ioapic_route(uint32_t line, uint32_t low_word) {
    ioapic_write(IOAPIC_ENTRY(line), ENTRY_MASKED);
    ioapic_write(IOAPIC_ENTRY(line) + 1, lapic_id() << 24);
    ioapic_write(IOAPIC_ENTRY(line), low_word);
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
    uint64_t base = rdmsr(MSR_APIC_BASE);
    if (!(base & APIC_BASE_ENABLE)) {
        base |= APIC_BASE_ENABLE;
        wrmsr(MSR_APIC_BASE, base);
    }
    x2apic = (base & APIC_BASE_EXTD) != 0;
    lapic_base = base & (hvt_phys_limit() - 1) & ~PAGE_MASK;
    plat_map_mmio(lapic_base, PAGE_SIZE);
    lapic_write(LAPIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
    lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_16);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);

    for (size_t i = 0; i < ARRAY_LEN(source_line); i++) {
        source_line[i] = IRQ_NONE;
    }
    plat_map_mmio(IOAPIC_BASE, PAGE_SIZE);
    uint32_t version = ioapic_read(IOAPIC_VERSION);
    if (version == 0xffffffff || version == 0) {
        return;
    }
    ioapic_lines = (version >> 16 & 0xff) + 1;
    for (uint32_t line = 0; line < ioapic_lines; line++) {
        ioapic_write(IOAPIC_ENTRY(line), ENTRY_MASKED);
    }
    ioapic_route(IRQ_COM1, VECTOR_SOURCES + PLAT_SOURCE_CONSOLE);
    hvt_console_enable_irq();
}

static uint64_t timer_ns; /* when the LAPIC's timer fires at the latest; 0: it is not running */

/* Called by vectors.S, interrupts off. */
void hvt_interrupt(uint64_t vector) {
    if (vector == VECTOR_TIMER) {
        timer_ns = 0;
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
                uint32_t entry = IOAPIC_ENTRY(source_line[source]);
                ioapic_write(entry, ioapic_read(entry) | ENTRY_MASKED);
            }
            fired |= 1u << source;
        }
    }
    /* A spurious interrupt wants no end-of-interrupt (SDM vol. 3, 11.9), nor does one of the 8259. */
    if (vector >= VECTOR_TIMER && vector != VECTOR_SPURIOUS) {
        lapic_write(LAPIC_EOI, 0);
    }
}

uint32_t plat_wait(uint64_t deadline_ns) {
    for (;;) {
        /* What waits in the APIC comes in here. */
        __asm__ volatile("sti; nop; cli" : : : "memory");
        if (ioapic_lines == 0) {
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
        if (ioapic_lines == 0 && left_ns > POLL_INTERVAL_NS) {
            left_ns = POLL_INTERVAL_NS;
        }
        /* Setting the timer costs an exit. One that will fire earlier stays: it wakes us on the way. */
        if (left_ns <= PLAT_NO_DEADLINE / 2 && (timer_ns == 0 || timer_ns > now_ns + left_ns)) {
            uint64_t ticks = hvt_lapic_ticks(left_ns);
            hvt_lapic_start(ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks);
            timer_ns = now_ns + left_ns;
        }
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
}

bool plat_irq_alloc(int *source, uint64_t *address, uint32_t *data) {
    if (next_source > PLAT_SOURCE_MAX) {
        return false;
    }
    *source = (int)next_source++;
    *address = MSI_ADDRESS | lapic_id() << 12;
    *data = VECTOR_SOURCES + (uint32_t)*source; /* edge, fixed delivery */
    return true;
}

bool plat_irq_legacy(uint32_t line, int *source) {
    /* Firmware writes 0 or 255 where it routed nothing; the cascade and COM1 are not PCI's. */
    if (line == 0 || line >= ioapic_lines || line == IRQ_CASCADE || line == IRQ_COM1) {
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
    uint32_t polarity = source_line[source] < ISA_LINES ? 0 : ENTRY_ACTIVE_LOW;
    ioapic_route(source_line[source], (VECTOR_SOURCES + (uint32_t)source) | ENTRY_LEVEL | polarity);
}
