/* SPDX-License-Identifier: MIT */
/*
 * apic.c: the registers of the local APIC, its timer, and of the I/O APIC (Intel SDM vol. 3, 11; 82093AA). Which
 * interrupt is for whom is irq.c's matter.
 */
#include "hvt.h"

#pragma GCC target("general-regs-only") /* called by interrupt handlers */

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

#define IOAPIC_BASE 0xfec00000UL /* where every PC chipset and VMM has it */
#define IOAPIC_INDEX (IOAPIC_BASE + 0x00)
#define IOAPIC_DATA (IOAPIC_BASE + 0x10)
#define IOAPIC_VERSION 1
#define IOAPIC_ENTRY(line) (0x10 + 2 * (line))
#define ENTRY_MASKED (1u << 16)

static bool x2apic;
static uint64_t lapic_base;
static uint32_t ioapic_lines; /* 0: there is none */

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

uint32_t hvt_lapic_id(void) {
    return x2apic ? lapic_read(LAPIC_ID) & 0xff : lapic_read(LAPIC_ID) >> 24;
}

void hvt_lapic_eoi(void) {
    lapic_write(LAPIC_EOI, 0);
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

uint32_t hvt_ioapic_lines(void) {
    return ioapic_lines;
}

void hvt_ioapic_mask(uint32_t line) {
    uint32_t entry = IOAPIC_ENTRY(line);
    uint64_t rflags = irq_save(); /* a register is two accesses */
    ioapic_write(entry, ioapic_read(entry) | ENTRY_MASKED);
    irq_restore(rflags);
}

void hvt_ioapic_route(uint32_t line, uint32_t low_word) {
    uint64_t rflags = irq_save();
    ioapic_write(IOAPIC_ENTRY(line), ENTRY_MASKED);
    ioapic_write(IOAPIC_ENTRY(line) + 1, hvt_lapic_id() << 24);
    ioapic_write(IOAPIC_ENTRY(line), low_word);
    irq_restore(rflags);
}

void hvt_apic_init(uint32_t timer_vector, uint32_t spurious_vector) {
    uint64_t base = rdmsr(MSR_APIC_BASE);
    if (!(base & APIC_BASE_ENABLE)) {
        base |= APIC_BASE_ENABLE;
        wrmsr(MSR_APIC_BASE, base);
    }
    x2apic = (base & APIC_BASE_EXTD) != 0;
    lapic_base = base & (hvt_phys_limit() - 1) & ~PAGE_MASK;
    plat_map_mmio(lapic_base, PAGE_SIZE);
    lapic_write(LAPIC_SVR, SVR_ENABLE | spurious_vector);
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
    lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_16);
    lapic_write(LAPIC_LVT_TIMER, timer_vector);

    plat_map_mmio(IOAPIC_BASE, PAGE_SIZE);
    uint32_t version = ioapic_read(IOAPIC_VERSION);
    if (version == 0xffffffff || version == 0) {
        return;
    }
    ioapic_lines = (version >> 16 & 0xff) + 1;
    for (uint32_t line = 0; line < ioapic_lines; line++) {
        ioapic_write(IOAPIC_ENTRY(line), ENTRY_MASKED);
    }
}
