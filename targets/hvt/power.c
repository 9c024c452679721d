/* SPDX-License-Identifier: MIT */
/*
 * power.c: the end. In order: QEMU's isa-debug-exit, which carries the exit code (the host sees code << 1 | 1);
 * pvpanic, which at least tells a failure; ACPI soft-off; a triple fault, which resets the machine (QEMU ends then
 * under -no-reboot).
 */
#include "hvt.h"

#define DEBUG_EXIT_PORT 0xf4
#define EXIT_CODE_MAX 127 /* what is left of eight bits */
#define EXIT_PATIENCE 10000000 /* turns: a fraction of a second on a processor, and more under emulation */
#define PVPANIC_PORT 0x505
#define PVPANIC_PANICKED 1

void hvt_power_off(int exit_code) {
    __asm__ volatile("cli");
    hvt_console_drain();
    /* Whoever presses the power button wants what comes now: it is no failure. */
    if (exit_code == MIRAGE_EXIT_TERMINATED) {
        exit_code = MIRAGE_EXIT_OK;
    }
    if (exit_code < 0 || exit_code > EXIT_CODE_MAX) {
        exit_code = EXIT_CODE_MAX;
    }
    /* QEMU's device reads as zero. Newer ones end some time after the write: what comes next here must not be seen. */
    bool is_ending = inl(DEBUG_EXIT_PORT) == 0;
    outl(DEBUG_EXIT_PORT, (uint32_t)exit_code);
    for (uint32_t i = 0; is_ending && i < EXIT_PATIENCE; i++) {
        __asm__ volatile("pause");
    }
    /* Reading gives the events that the device knows; an empty port reads as all ones. */
    uint8_t events = inb(PVPANIC_PORT);
    if (exit_code != 0 && events != 0xff && (events & PVPANIC_PANICKED)) {
        outb(PVPANIC_PORT, PVPANIC_PANICKED);
    }
    hvt_acpi_power_off();
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) no_idt = {0, 0};
    for (;;) {
        __asm__ volatile("lidt %0; int3" : : "m"(no_idt));
    }
}

void plat_exit(int code) {
    hvt_power_off(code);
}

void hvt_die(const char *message, int exit_code) {
    hvt_print("mirage: ");
    hvt_print(message);
    hvt_print("\n");
    plat_exit(exit_code);
}
