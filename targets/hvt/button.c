/* SPDX-License-Identifier: MIT */
/*
 * button.c: the power button. On a PC it is fixed hardware (ACPI 6.5, 4.8.2.2.1.1): a bit of the PM1 event registers,
 * which raises the SCI. On a machine with reduced hardware (QEMU's microvm) it is an event of the generic event
 * device (5.6.9), whose registers only the DSDT's bytecode describes: QEMU's are known (docs/specs/acpi_hw_reduced_hotplug).
 */
#include "hvt.h"

#pragma GCC target("general-regs-only") /* called by an interrupt handler */

#define PWRBTN (1u << 8) /* PM1 status and enable */
#define MADT_ENTRIES 44
#define MADT_OVERRIDE 2
#define MADT_OVERRIDE_BYTES 10
#define POLARITY_MASK 3
#define POLARITY_HIGH 1
#define TRIGGER_MASK 12
#define TRIGGER_EDGE 4
#define GED_ID "ACPI0013"
#define GED_ID_BYTES 8
#define GED_REGISTERS 0x200 /* from the event selector to the sleep control register, which the FADT names */
#define GED_LINE 9
#define GED_POWER_DOWN 2
#define GAS_MEMORY 0
#define GAS_ADDRESS 4

static uint16_t pm1_status_port;
static uint64_t ged_selector; /* reading it clears it */

/* Where the MADT redirects an ISA interrupt to (5.2.12.5). Without a word: level-triggered, active low (5.2.9). */
static void find_override(uint32_t irq, uint32_t *line, uint32_t *mode) {
    size_t len_bytes = 0;
    const uint8_t *madt = hvt_acpi_table("APIC", MADT_ENTRIES, &len_bytes);
    *line = irq;
    *mode = IOAPIC_LEVEL | IOAPIC_ACTIVE_LOW;
    for (size_t at = MADT_ENTRIES; madt != NULL && at + 2 <= len_bytes && madt[at + 1] >= 2; at += madt[at + 1]) {
        const uint8_t *entry = madt + at;
        if (entry[0] != MADT_OVERRIDE || entry[1] < MADT_OVERRIDE_BYTES || at + MADT_OVERRIDE_BYTES > len_bytes
            || entry[3] != irq) {
            continue;
        }
        uint16_t flags = get_le16(entry + 8);
        *line = get_le32(entry + 4);
        *mode = ((flags & TRIGGER_MASK) == TRIGGER_EDGE ? 0 : IOAPIC_LEVEL)
            | ((flags & POLARITY_MASK) == POLARITY_HIGH ? 0 : IOAPIC_ACTIVE_LOW);
    }
}

static bool find_fixed(const uint8_t *fadt, uint32_t *line, uint32_t *mode) {
    uint16_t port = (uint16_t)get_le32(fadt + FADT_PM1A_EVT);
    uint8_t len_bytes = fadt[FADT_PM1_EVT_LEN];
    if (port == 0 || len_bytes < 4 || (get_le32(fadt + FADT_FLAGS) & POWER_BUTTON_ELSEWHERE)) {
        return false;
    }
    find_override(get_le16(fadt + FADT_SCI_INT), line, mode);
    hvt_acpi_enable(fadt);
    /* This event and no other: nobody would quiet those. A press that came while we started still counts. */
    outw((uint16_t)(port + len_bytes / 2), PWRBTN);
    pm1_status_port = port;
    return true;
}

static bool find_ged(const uint8_t *fadt, size_t fadt_bytes, uint32_t *line, uint32_t *mode) {
    size_t dsdt_bytes = 0;
    const uint8_t *dsdt = hvt_acpi_dsdt(fadt, fadt_bytes, &dsdt_bytes);
    const uint8_t *sleep_control = fadt + FADT_SLEEP_CONTROL;
    if (dsdt == NULL || fadt_bytes < FADT_BYTES_SLEEP || sleep_control[0] != GAS_MEMORY) {
        return false;
    }
    uint64_t selector = get_le64(sleep_control + GAS_ADDRESS) - GED_REGISTERS;
    for (size_t at = 0; at + GED_ID_BYTES <= dsdt_bytes; at++) {
        if (hvt_bytes_equal(dsdt + at, GED_ID, GED_ID_BYTES)) {
            if ((selector & PAGE_MASK) != 0 || plat_map_mmio(selector, PAGE_SIZE) == NULL) {
                return false;
            }
            ged_selector = selector;
            *line = GED_LINE;
            *mode = 0;
            return true;
        }
    }
    return false;
}

bool hvt_button_init(uint32_t *line, uint32_t *mode) {
    size_t fadt_bytes = 0;
    const uint8_t *fadt = hvt_acpi_table("FACP", FADT_BYTES_1, &fadt_bytes);
    if (fadt == NULL) {
        return false;
    }
    if (get_le32(fadt + FADT_FLAGS) & HW_REDUCED_ACPI) {
        return find_ged(fadt, fadt_bytes, line, mode);
    }
    return find_fixed(fadt, line, mode);
}

bool hvt_button_pressed(void) {
    if (ged_selector != 0) {
        return (mmio_read32(ged_selector) & GED_POWER_DOWN) != 0;
    }
    if (pm1_status_port == 0 || !(inw(pm1_status_port) & PWRBTN)) {
        return false;
    }
    outw(pm1_status_port, PWRBTN); /* writing 1 clears it */
    return true;
}
