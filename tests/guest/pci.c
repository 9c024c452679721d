/* SPDX-License-Identifier: MIT */
/*
 * Lists the functions of bus 0, and where there is QEMU's `edu` device (docs/specs/edu.rst): gives it an address if
 * the firmware did not, uses its registers, lets it compute a factorial, and takes its interrupt as MSI and as INTx.
 */
#include "guest.h"

#define EDU 0x11e81234u
#define ABSENT 0xffffffffu
#define COMMAND 0x04
#define COMMAND_MEMORY 2u
#define COMMAND_MASTER 4u
#define COMMAND_NO_INTX 0x400u
#define BAR0 0x10
#define CAPABILITIES 0x34
#define INTERRUPT_LINE 0x3c
#define CAP_MSI 5
#define EDU_ID 0x00
#define EDU_LIVENESS 0x04
#define EDU_FACTORIAL 0x08
#define EDU_STATUS 0x20
#define EDU_IRQ_STATUS 0x24
#define EDU_IRQ_RAISE 0x60
#define EDU_IRQ_ACK 0x64
#define EDU_BAR_BYTES (1UL << 20)
#define SECOND_NS 1000000000UL

static volatile uint32_t *registers;

static uint64_t place(uint32_t bdf) {
    uint32_t bar = plat_pci_read(bdf, BAR0, 4) & ~15u;
    if (bar == 0) {
        uint64_t base, len_bytes;
        CHECK(plat_pci_window(0, &base, &len_bytes) && len_bytes >= 2 * EDU_BAR_BYTES);
        bar = (uint32_t)((base + EDU_BAR_BYTES - 1) & ~(EDU_BAR_BYTES - 1));
        plat_pci_write(bdf, BAR0, 4, bar);
        CHECK((plat_pci_read(bdf, BAR0, 4) & ~15u) == bar);
        say("assigned %x\n", (uint64_t)bar);
    }
    return bar;
}

static uint32_t find_capability(uint32_t bdf, uint32_t id) {
    uint32_t at = plat_pci_read(bdf, CAPABILITIES, 1);
    while (at != 0 && plat_pci_read(bdf, at, 1) != id) {
        at = plat_pci_read(bdf, at + 1, 1);
    }
    return at;
}

static void interrupt_and_wait(int source) {
    registers[EDU_IRQ_RAISE / 4] = 1;
    CHECK(plat_wait(plat_monotonic_ns() + SECOND_NS) == 1u << source);
    CHECK(registers[EDU_IRQ_STATUS / 4] == 1);
    registers[EDU_IRQ_ACK / 4] = 1;
    CHECK(plat_wait(plat_monotonic_ns() + SECOND_NS / 100) == 0);
}

static void use_edu(uint32_t bdf, bool try_intx) {
    uint64_t bar = place(bdf);
    plat_pci_write(bdf, COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
    registers = plat_map_mmio(bar, EDU_BAR_BYTES);
    CHECK(registers != NULL);
    CHECK((registers[EDU_ID / 4] & 0xff) == 0xed);
    registers[EDU_LIVENESS / 4] = 0x12345678;
    CHECK(registers[EDU_LIVENESS / 4] == ~0x12345678u);
    registers[EDU_FACTORIAL / 4] = 10;
    while (registers[EDU_STATUS / 4] & 1) {
    }
    CHECK(registers[EDU_FACTORIAL / 4] == 3628800);

    int source;
    uint32_t line = plat_pci_read(bdf, INTERRUPT_LINE, 1);
    if (line == 0 || line == 255) {
        CHECK(!plat_irq_legacy(line, &source));
        say("no interrupt line\n");
    } else if (try_intx) {
        int again;
        CHECK(plat_irq_legacy(line, &source) && plat_irq_legacy(line, &again) && again == source);
        interrupt_and_wait(source);
        plat_irq_legacy_unmask(source);
        interrupt_and_wait(source); /* it must come a second time */
        registers[EDU_IRQ_RAISE / 4] = 1;
        CHECK(plat_wait(plat_monotonic_ns() + SECOND_NS / 100) == 0); /* and not while it is masked */
        plat_irq_legacy_unmask(source);
        CHECK(plat_wait(plat_monotonic_ns() + SECOND_NS) == 1u << source);
        registers[EDU_IRQ_ACK / 4] = 1;
        say("INTx on line %d\n", (int)line);
    }

    uint64_t address;
    uint32_t data, msi = find_capability(bdf, CAP_MSI);
    CHECK(msi != 0 && plat_irq_alloc(&source, &address, &data));
    plat_pci_write(bdf, COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX);
    plat_pci_write(bdf, msi + 4, 4, (uint32_t)address);
    plat_pci_write(bdf, msi + 8, 4, (uint32_t)(address >> 32)); /* its capability is the 64-bit one */
    plat_pci_write(bdf, msi + 12, 2, data);
    plat_pci_write(bdf, msi + 2, 2, plat_pci_read(bdf, msi + 2, 2) | 1);
    interrupt_and_wait(source);
    interrupt_and_wait(source);
    say("MSI\n");
}

int mirage_main(int argc, char **argv) {
    (void)argv;
    say("last bus %d\n", plat_pci_last_bus());
    for (int i = 0; i < 2; i++) {
        uint64_t base, len_bytes;
        if (plat_pci_window(i, &base, &len_bytes)) {
            say("window %d at %x, %x bytes\n", i, base, len_bytes);
        }
    }
    for (uint32_t bdf = 0; bdf < 256; bdf++) {
        uint32_t id = plat_pci_read(bdf, 0, 4);
        CHECK(plat_pci_read(bdf, 0, 2) == (id & 0xffff) && plat_pci_read(bdf, 3, 1) == id >> 24);
        if (id != ABSENT) {
            uint64_t class_code = plat_pci_read(bdf, 8, 4) >> 8;
            say("%d.%d: %x:%x class %x\n", (int)(bdf >> 3), (int)(bdf & 7), (uint64_t)(id & 0xffff), (uint64_t)(id >> 16),
                class_code);
        }
        if (plat_pci_read(bdf, 0x100, 4) != ABSENT) {
            say("4096 octets of configuration space\n");
        }
        if (id == EDU) {
            use_edu(bdf, argc == 0); /* with an argument, the firmware's Interrupt Line is known to be wrong */
        }
    }
    CHECK(plat_pci_read(0x10000, 0, 4) == ABSENT && plat_pci_read(0, 1, 4) == ABSENT);
    int source;
    uint64_t address;
    uint32_t data, count = 0;
    while (plat_irq_alloc(&source, &address, &data)) {
        CHECK(source > 0 && source <= PLAT_SOURCE_MAX);
        count++;
    }
    CHECK(count >= 28 && count <= 31);
    say("SUCCESS\n");
    return 0;
}
