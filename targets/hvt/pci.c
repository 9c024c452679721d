/* SPDX-License-Identifier: MIT */
/*
 * pci.c: configuration space through ECAM (PCI Express base 7.2.2) where ACPI's MCFG names one, else through 0xCF8
 * (PCI 3.0, 3.2.2.3.2), and the address ranges in which a BAR can be put.
 */
#include "hvt.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE 0x80000000u
#define CONFIG_BYTES 256
#define ECAM_BYTES 4096
#define ECAM_BUS_BYTES (1UL << 20)
#define BDF_COUNT 0x10000u
#define MCFG_ENTRY 44
#define MCFG_BYTES 60
/* QEMU's microvm has no MCFG: its DSDT names the ECAM (_CBA), always this one (include/hw/i386/microvm.h). */
#define MICROVM_ECAM 0xe0000000UL
#define MICROVM_HOST_BRIDGE 0x00081b36u
#define NO_DEVICE 0xffffffffu
/* QEMU, Firecracker and Cloud Hypervisor decode devices between 3 GiB and the chipset's own registers. */
#define LOW_WINDOW_START 0xc0000000UL
#define LOW_WINDOW_END 0xfec00000UL
#define HIGH_ALIGN (1UL << 30)

static bool ready, have_ports;
static uint64_t ecam_base;
static uint64_t ecam_bytes;
static int first_bus, last_bus = -1;

static bool use_ecam(uint64_t base, int first, int last) {
    uint64_t len_bytes = (uint64_t)(last - first + 1) * ECAM_BUS_BYTES;
    if (plat_map_mmio(base + (uint64_t)first * ECAM_BUS_BYTES, len_bytes) == NULL) {
        return false;
    }
    ecam_base = base;
    ecam_bytes = len_bytes;
    first_bus = first;
    last_bus = last;
    return true;
}

static void find_config_access(void) {
    size_t len_bytes = 0;
    const uint8_t *mcfg = hvt_acpi_table("MCFG", MCFG_BYTES, &len_bytes);
    ready = true;
    if (mcfg != NULL) {
        /* The first entry; segments beyond 0 have no name in a bus:device.function. */
        const uint8_t *entry = mcfg + MCFG_ENTRY;
        uint64_t base = *(const volatile uint64_t *)entry;
        if (base != 0 && entry[10] <= entry[11] && use_ecam(base, entry[10], entry[11])) {
            return;
        }
    }
    outl(CONFIG_ADDRESS, CONFIG_ENABLE);
    if (inl(CONFIG_ADDRESS) == CONFIG_ENABLE) {
        have_ports = true;
        last_bus = 255;
        return;
    }
    if (plat_map_mmio(MICROVM_ECAM, PAGE_SIZE) != NULL && mmio_read32(MICROVM_ECAM) == MICROVM_HOST_BRIDGE) {
        use_ecam(MICROVM_ECAM, 0, 255);
    }
}

/* Where in ECAM, or at which port, to access; 0 when there is nothing. */
static uint64_t locate(uint32_t bdf, uint32_t offset, uint32_t size) {
    if (!ready) {
        find_config_access();
    }
    if (bdf >= BDF_COUNT || (size != 1 && size != 2 && size != 4) || (offset & (size - 1)) != 0) {
        return 0;
    }
    int bus = (int)(bdf >> 8);
    if (ecam_base != 0 && bus >= first_bus && bus <= last_bus && offset < ECAM_BYTES) {
        return ecam_base + ((uint64_t)bdf << 12 | offset);
    }
    if (have_ports && offset < CONFIG_BYTES) {
        outl(CONFIG_ADDRESS, CONFIG_ENABLE | bdf << 8 | (offset & ~3u));
        return CONFIG_DATA + (offset & 3);
    }
    return 0;
}

uint32_t plat_pci_read(uint32_t bdf, uint32_t offset, uint32_t size) {
    uint64_t at = locate(bdf, offset, size);
    if (at == 0) {
        return size == 1 ? 0xff : size == 2 ? 0xffff : NO_DEVICE;
    }
    if (ecam_base == 0) {
        uint16_t port = (uint16_t)at;
        return size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
    }
    return size == 1 ? *(volatile uint8_t *)at : size == 2 ? *(volatile uint16_t *)at : mmio_read32(at);
}

void plat_pci_write(uint32_t bdf, uint32_t offset, uint32_t size, uint32_t value) {
    uint64_t at = locate(bdf, offset, size);
    if (at == 0) {
        return;
    }
    if (ecam_base == 0) {
        uint16_t port = (uint16_t)at;
        if (size == 1) {
            outb(port, (uint8_t)value);
        } else if (size == 2) {
            outw(port, (uint16_t)value);
        } else {
            outl(port, value);
        }
    } else if (size == 1) {
        *(volatile uint8_t *)at = (uint8_t)value;
    } else if (size == 2) {
        *(volatile uint16_t *)at = (uint16_t)value;
    } else {
        mmio_write32(at, value);
    }
}

int plat_pci_last_bus(void) {
    if (!ready) {
        find_config_access();
    }
    /* 0xCF8 answers on a machine without PCI too; a host bridge it has not. */
    return last_bus >= 0 && plat_pci_read((uint32_t)first_bus << 8, 0, 4) != NO_DEVICE ? last_bus : -1;
}

static bool widest_gap(uint64_t start, uint64_t limit, uint64_t *base, uint64_t *len_bytes) {
    uint64_t end;
    *len_bytes = 0;
    while (start < limit && hvt_memory_gap(&start, &end, limit)) {
        uint64_t ecam_start = ecam_base + (uint64_t)first_bus * ECAM_BUS_BYTES, ecam_end = ecam_start + ecam_bytes;
        if (ecam_base != 0 && start >= ecam_start && start < ecam_end) {
            start = ecam_end;
            continue;
        }
        if (ecam_base != 0 && ecam_start > start && ecam_start < end) {
            end = ecam_start;
        }
        if (end - start > *len_bytes) {
            *base = start;
            *len_bytes = end - start;
        }
        start = end;
    }
    return *len_bytes != 0;
}

bool plat_pci_window(int index, uint64_t *base, uint64_t *len_bytes) {
    if (plat_pci_last_bus() < 0 || index < 0 || index > 1) {
        return false;
    }
    uint64_t limit = hvt_phys_limit();
    if (index == 0) {
        uint64_t start = hvt_memory_top_below_4g();
        return widest_gap(start > LOW_WINDOW_START ? start : LOW_WINDOW_START, LOW_WINDOW_END, base, len_bytes);
    }
    uint64_t start = hvt_memory_top() > 1UL << 32 ? hvt_memory_top() : 1UL << 32;
    /* A microvm decodes the topmost quarter of the address space (hw/i386/microvm.c), others all that is free. */
    if (plat_pci_read(0, 0, 4) == MICROVM_HOST_BRIDGE && start < limit / 4 * 3) {
        start = limit / 4 * 3;
    }
    return widest_gap((start + HIGH_ALIGN - 1) & ~(HIGH_ALIGN - 1), limit, base, len_bytes);
}
