/* SPDX-License-Identifier: MIT */
/*
 * acpi.c: finding a table, and soft-off (ACPI 6.5, 5.2 and 4.8.3.2). Only looked at when asked: a start does not need
 * it.
 */
#include "hvt.h"

#define BIOS_AREA 0xe0000UL
#define BIOS_AREA_END 0x100000UL
#define RSDP_BYTES 20
#define RSDP_REVISION 15
#define RSDP_RSDT 16
#define RSDP_XSDT 24
#define HEADER_BYTES 36
#define TABLE_BYTES_MAX (1UL << 20)
#define FADT_DSDT 40
#define FADT_SMI_CMD 48
#define FADT_ACPI_ENABLE 52
#define FADT_PM1B_CNT 68
#define FADT_X_DSDT 140
#define GAS_MEMORY 0
#define GAS_IO 1
#define PM1_SCI_EN 1
#define PM1_SLP_TYP_BIT 10
#define PM1_SLP_EN (1u << 13)
#define SLEEP_TYP_BIT 2
#define SLEEP_EN (1u << 5)
#define AML_NAME 0x08
#define AML_PACKAGE 0x12
#define AML_BYTE 0x0a
#define ENABLE_SPINS 100000
#define OFF_SPINS 1000000 /* the VMM stops us in the middle of that */

static uint64_t rsdp_addr;

bool hvt_bytes_equal(const uint8_t *a, const char *b, size_t len_bytes) {
    for (size_t i = 0; i < len_bytes; i++) {
        if (a[i] != (uint8_t)b[i]) {
            return false;
        }
    }
    return true;
}

void hvt_acpi_init(uint64_t rsdp_phys_addr) {
    rsdp_addr = rsdp_phys_addr;
}

static const uint8_t *find_rsdp(void) {
    static const char signature[] = "RSD PTR ";
    if (rsdp_addr != 0) {
        const uint8_t *rsdp = (const uint8_t *)rsdp_addr;
        return hvt_map_readable(rsdp_addr, HEADER_BYTES) && hvt_bytes_equal(rsdp, signature, 8) ? rsdp : NULL;
    }
    if (!hvt_map_readable(BIOS_AREA, BIOS_AREA_END - BIOS_AREA)) {
        return NULL;
    }
    for (uint64_t at = BIOS_AREA; at < BIOS_AREA_END; at += 16) {
        const uint8_t *p = (const uint8_t *)at;
        if (hvt_bytes_equal(p, signature, 8)) {
            uint8_t sum = 0;
            for (int i = 0; i < RSDP_BYTES; i++) {
                sum = (uint8_t)(sum + p[i]);
            }
            if (sum == 0) {
                return p;
            }
        }
    }
    return NULL;
}

static const uint8_t *map_table(uint64_t phys_addr, size_t *len_bytes) {
    if (phys_addr == 0 || !hvt_map_readable(phys_addr, HEADER_BYTES)) {
        return NULL;
    }
    const uint8_t *table = (const uint8_t *)phys_addr;
    *len_bytes = get_le32(table + 4);
    if (*len_bytes < HEADER_BYTES || *len_bytes > TABLE_BYTES_MAX || !hvt_map_readable(phys_addr, *len_bytes)) {
        return NULL;
    }
    return table;
}

const uint8_t *hvt_acpi_table(const char *signature, size_t min_len_bytes, size_t *len_bytes) {
    const uint8_t *rsdp = find_rsdp();
    if (rsdp == NULL) {
        return NULL;
    }
    bool is_xsdt = rsdp[RSDP_REVISION] >= 2 && get_le64(rsdp + RSDP_XSDT) != 0;
    size_t root_bytes = 0, entry_bytes = is_xsdt ? 8 : 4;
    const uint8_t *root = map_table(is_xsdt ? get_le64(rsdp + RSDP_XSDT) : get_le32(rsdp + RSDP_RSDT), &root_bytes);
    if (root == NULL) {
        return NULL;
    }
    for (size_t at = HEADER_BYTES; at + entry_bytes <= root_bytes; at += entry_bytes) {
        const uint8_t *table = map_table(is_xsdt ? get_le64(root + at) : get_le32(root + at), len_bytes);
        if (table != NULL && hvt_bytes_equal(table, signature, 4) && *len_bytes >= min_len_bytes) {
            return table;
        }
    }
    return NULL;
}

static bool aml_small_integer(const uint8_t **at, const uint8_t *end, uint8_t *value) {
    if (*at < end && **at <= 1) { /* ZeroOp, OneOp */
        *value = *(*at)++;
        return true;
    }
    if (end - *at >= 2 && **at == AML_BYTE) {
        *value = (*at)[1];
        *at += 2;
        return true;
    }
    return false;
}

/* Name (_S5_, Package () {SLP_TYPa, SLP_TYPb, ...}): recognised by its bytes, for want of an AML interpreter. */
static bool find_s5(const uint8_t *dsdt, size_t len_bytes, uint8_t *typ_a, uint8_t *typ_b) {
    const uint8_t *end = dsdt + len_bytes;
    for (const uint8_t *p = dsdt + HEADER_BYTES; p + 8 < end; p++) {
        bool is_named = p[-1] == AML_NAME || (p[-1] == '\\' && p[-2] == AML_NAME);
        if (!is_named || !hvt_bytes_equal(p, "_S5_", 4) || p[4] != AML_PACKAGE) {
            continue;
        }
        const uint8_t *at = p + 5;
        at += 1 + (*at >> 6) + 1; /* PkgLength says in its top bits how many octets follow; then NumElements */
        if (aml_small_integer(&at, end, typ_a)) {
            if (!aml_small_integer(&at, end, typ_b)) {
                *typ_b = *typ_a;
            }
            return true;
        }
    }
    return false;
}

void hvt_acpi_enable(const uint8_t *fadt) {
    uint32_t smi_port = get_le32(fadt + FADT_SMI_CMD);
    uint16_t pm1a_port = (uint16_t)get_le32(fadt + FADT_PM1A_CNT);
    if (smi_port == 0 || fadt[FADT_ACPI_ENABLE] == 0 || (inw(pm1a_port) & PM1_SCI_EN)) {
        return;
    }
    outb((uint16_t)smi_port, fadt[FADT_ACPI_ENABLE]);
    for (int i = 0; i < ENABLE_SPINS && !(inw(pm1a_port) & PM1_SCI_EN); i++) {
        cpu_pause();
    }
}

static void write_sleep_control(const uint8_t *gas, uint8_t value) {
    uint64_t addr = get_le64(gas + 4);
    if (gas[0] == GAS_IO) {
        outb((uint16_t)addr, value);
    } else if (gas[0] == GAS_MEMORY && plat_map_mmio(addr, 1) != NULL) {
        *(volatile uint8_t *)addr = value;
    }
}

const uint8_t *hvt_acpi_dsdt(const uint8_t *fadt, size_t fadt_bytes, size_t *len_bytes) {
    uint64_t addr = fadt_bytes >= FADT_X_DSDT + 8 ? get_le64(fadt + FADT_X_DSDT) : 0;
    return map_table(addr != 0 ? addr : get_le32(fadt + FADT_DSDT), len_bytes);
}

bool hvt_acpi_power_off(void) {
    size_t fadt_bytes = 0, dsdt_bytes = 0;
    const uint8_t *fadt = hvt_acpi_table("FACP", FADT_BYTES_1, &fadt_bytes);
    if (fadt == NULL) {
        return false;
    }
    const uint8_t *dsdt = hvt_acpi_dsdt(fadt, fadt_bytes, &dsdt_bytes);
    uint8_t typ_a = 0, typ_b = 0;
    if (dsdt == NULL || !find_s5(dsdt, dsdt_bytes, &typ_a, &typ_b)) {
        return false;
    }
    if (get_le32(fadt + FADT_FLAGS) & HW_REDUCED_ACPI) {
        if (fadt_bytes < FADT_BYTES_SLEEP) {
            return false;
        }
        write_sleep_control(fadt + FADT_SLEEP_CONTROL, (uint8_t)(typ_a << SLEEP_TYP_BIT | SLEEP_EN));
    } else {
        uint16_t pm1a_port = (uint16_t)get_le32(fadt + FADT_PM1A_CNT), pm1b_port = (uint16_t)get_le32(fadt + FADT_PM1B_CNT);
        if (pm1a_port == 0) {
            return false;
        }
        hvt_acpi_enable(fadt);
        outw(pm1a_port, (uint16_t)(typ_a << PM1_SLP_TYP_BIT | PM1_SLP_EN));
        if (pm1b_port != 0) {
            outw(pm1b_port, (uint16_t)(typ_b << PM1_SLP_TYP_BIT | PM1_SLP_EN));
        }
    }
    for (int i = 0; i < OFF_SPINS; i++) {
        cpu_pause();
    }
    return false;
}
