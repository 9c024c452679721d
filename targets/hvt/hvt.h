/* SPDX-License-Identifier: MIT */
/*
 * hvt.h: what the parts of the hvt platform ask of each other. Nothing outside targets/hvt includes it.
 *
 * The machine is one x86-64 CPU in long mode. Virtual addresses equal physical ones everywhere (so a DMA address is a
 * pointer), and what is not RAM that we use, or mapped on purpose, is not mapped. Interrupts are on from mirage_main() to
 * the end, those of devices in plat_wait() only; their handlers note what happened (irq.c), and what they share with the
 * rest is touched between irq_save() and irq_restore().
 */
#ifndef MIRAGE_HVT_H
#define MIRAGE_HVT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port_abi.h"

#define PAGE_SIZE 4096UL
#define PAGE_MASK (PAGE_SIZE - 1)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* --- link.ld: page-aligned bounds of the image, in address order ---------------------------------------------- */

extern char hvt_image_start[], hvt_text_end[], hvt_rodata_start[], hvt_rodata_end[], hvt_data_start[], hvt_data_end[];
extern char hvt_guard_start[], hvt_stack_bottom[], hvt_stack_top[], hvt_image_end[];
extern char hvt_minimum_mib[]; /* the address is the number: the least memory that the image starts with */

/* --- the CPU -------------------------------------------------------------------------------------------------- */

static inline void outb(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline void outw(uint16_t port, uint16_t value) {
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
static inline void outl(uint16_t port, uint32_t value) {
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
static inline uint8_t inb(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline uint16_t inw(uint16_t port) {
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline uint32_t inl(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline uint64_t rdmsr(uint32_t msr) {
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}
static inline void wrmsr(uint32_t msr, uint64_t value) {
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}
static inline uint64_t rdtsc(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}
static inline void cpu_pause(void) {
    __asm__ volatile("pause" : : : "memory");
}
#define RFLAGS_IF 0x200
static inline uint64_t irq_save(void) {
    uint64_t rflags;
    __asm__ volatile("pushfq; popq %0; cli" : "=r"(rflags) : : "memory");
    return rflags;
}
/* Interrupts whose vector's upper four bits are no more than this wait (SDM vol. 3, 11.8.6); no exit under KVM. */
static inline void set_priority(uint64_t priority) {
    __asm__ volatile("movq %0, %%cr8" : : "r"(priority) : "memory");
}
static inline void irq_restore(uint64_t rflags) {
    if (rflags & RFLAGS_IF) {
        __asm__ volatile("sti" : : : "memory");
    }
}
typedef struct {
    uint32_t eax, ebx, ecx, edx;
} cpuid_t;
static inline cpuid_t cpuid(uint32_t leaf, uint32_t subleaf) {
    cpuid_t r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}
/* Device memory, one access of exactly this width. */
static inline uint32_t mmio_read32(uint64_t phys_addr) {
    return *(volatile uint32_t *)phys_addr;
}
static inline void mmio_write32(uint64_t phys_addr, uint32_t value) {
    *(volatile uint32_t *)phys_addr = value;
}

/* --- console.c: COM1, and the few words of a report ------------------------------------------------------------ */

void hvt_console_init(void);
void hvt_console_interrupt(void);    /* takes what the UART holds; called with interrupts off */
bool hvt_console_has_input(void);
void hvt_console_enable_irq(void);
bool hvt_console_has_break(void);    /* Ctrl-C was typed, and nobody has read it yet, or forgotten it: */
void hvt_console_forget_break(void); /* it is input like any other */
void hvt_console_take_break(void);   /* it and what was typed before it are input no more */
void hvt_console_drain(void);        /* until the last byte has left, or a second has passed */
void hvt_print(const char *text);
void hvt_print_hex(uint64_t value);
void hvt_print_dec(uint64_t value);

/* --- memory.c: the memory map and the shares made of it --------------------------------------------------------- */

/* The entry of hvm_memmap_table (Xen public headers, arch-x86/hvm/start_info.h); types are those of ACPI's E820. */
typedef struct {
    uint64_t base, len_bytes;
    uint32_t type, reserved;
} hvt_memmap_t;
#define MEMMAP_RAM 1
#define MEMMAP_ACPI 3

bool hvt_memory_init(const hvt_memmap_t *map, size_t count); /* false: there is too little */
bool hvt_memory_is_ram(uint64_t phys_addr, uint64_t len_bytes); /* overlaps RAM by the memory map? */
uint64_t hvt_memory_top(void);                                  /* end of the highest RAM */
uint64_t hvt_memory_top_below_4g(void);
/* Moves *start up to the first octet that no map entry covers; *end is set to where the next entry, or `limit`,
 * begins. */
bool hvt_memory_gap(uint64_t *start, uint64_t *end, uint64_t limit);

/* --- paging.c ------------------------------------------------------------------------------------------------- */

#define PAGE_WRITE (1UL << 1)
#define PAGE_UNCACHED (1UL << 3 | 1UL << 4) /* PWT and PCD: entry 3 of the PAT after reset, strong UC */
#define PAGE_NX (1UL << 63)

void hvt_paging_pool(uint64_t base, uint64_t len_bytes); /* where page tables may live */
size_t hvt_paging_pool_left(void);                       /* in pages */
/* Maps [phys_addr, phys_addr + len_bytes) onto itself; both are multiples of the page size. Pages that are mapped
 * stay as they are. false: the tables are full. */
bool hvt_map(uint64_t phys_addr, uint64_t len_bytes, uint64_t flags);
void hvt_paging_enable(void);                           /* leaves the boot code's tables for ours */
bool hvt_map_readable(uint64_t phys_addr, uint64_t len_bytes); /* any alignment: tables that the firmware left */
bool hvt_is_mapped(uint64_t virt_addr);
uint64_t hvt_phys_limit(void);                          /* 1 << the CPU's number of physical address bits */

/* --- apic.c ------------------------------------------------------------------------------------------------------ */

void hvt_apic_init(uint32_t timer_vector, uint32_t spurious_vector); /* all lines of the I/O APIC masked */
uint32_t hvt_lapic_id(void);
void hvt_lapic_eoi(void);
uint64_t hvt_lapic_ticks_left(void); /* the one-shot timer, counting down; for calibration */
void hvt_lapic_start(uint32_t ticks);
#define LAPIC_DIVISOR 16             /* of the bus clock, which QEMU and KVM fix at 1 GHz */
uint32_t hvt_ioapic_lines(void);     /* 0: there is no I/O APIC */
#define VECTOR_CMOS 0x4f
/* To this CPU. low_word: the vector, and: */
void hvt_ioapic_route(uint32_t line, uint32_t low_word);
#define IOAPIC_LEVEL (1u << 15)
#define IOAPIC_ACTIVE_LOW (1u << 13)
void hvt_ioapic_mask(uint32_t line);

/* --- irq.c, vectors.S, fault.c ---------------------------------------------------------------------------------- */

/* What vectors.S leaves on the stack. */
typedef struct {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error_code;
    uint64_t rip, cs, rflags, rsp, ss;
} hvt_frame_t;

void hvt_descriptors_init(void);  /* the IDT and the TSS: from here on a fault makes a report */
void hvt_irq_init(void);          /* LAPIC, I/O APIC; masks the 8259 */
void hvt_irq_start(void);         /* interrupts on; the clock runs by now */

/* --- clock.c, wall.c -------------------------------------------------------------------------------------------------- */

#define NS_PER_S 1000000000UL
void hvt_clock_init(void);
uint64_t hvt_kvm_wall_offset_ns(void);          /* wall time when the KVM clock was zero; 0: there is none */
/* From the interrupt handler. is_now: it comes at the moment at which it happened. */
void hvt_wall_second_begins(bool is_now);
#define IRQ_CMOS 8
uint64_t hvt_lapic_ticks(uint64_t duration_ns); /* how long in ticks of the LAPIC timer, rounded up */

/* --- acpi.c, button.c, power.c, pci.c ------------------------------------------------------------------------------------- */

void hvt_acpi_init(uint64_t rsdp_phys_addr); /* 0: look for it in the BIOS area, when first asked */
/* A table by signature, mapped, its length checked against min_len_bytes. NULL when there is none. */
const uint8_t *hvt_acpi_table(const char *signature, size_t min_len_bytes, size_t *len_bytes);
__attribute__((noreturn)) void hvt_power_off(int exit_code);
/* One line `mirage: MESSAGE`, then the machine ends with this code. */
__attribute__((noreturn)) void hvt_die(const char *message, int exit_code);
/* Of the "FACP" table (ACPI 6.5, 5.2.9), which is FADT_BYTES_1 long at least: */
#define FADT_BYTES_1 116 /* of revision 1, but the flags, which all have */
#define FADT_BYTES_SLEEP 256
#define FADT_SCI_INT 46
#define FADT_PM1A_EVT 56
#define FADT_PM1A_CNT 64
#define FADT_PM1_EVT_LEN 88
#define FADT_FLAGS 112
#define FADT_SLEEP_CONTROL 244
#define POWER_BUTTON_ELSEWHERE (1u << 4)
#define HW_REDUCED_ACPI (1u << 20)
const uint8_t *hvt_acpi_dsdt(const uint8_t *fadt, size_t fadt_bytes, size_t *len_bytes);
void hvt_acpi_enable(const uint8_t *fadt); /* SCI instead of SMI (4.8.2.5) */
bool hvt_bytes_equal(const uint8_t *a, const char *b, size_t len_bytes);
static inline uint16_t get_le16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t get_le32(const uint8_t *p) {
    return get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}
static inline uint64_t get_le64(const uint8_t *p) {
    return get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

/* The line of the I/O APIC where the power button's interrupt arrives, and its mode (IOAPIC_LEVEL ...). false: there is
 * no button that we know. */
bool hvt_button_init(uint32_t *line, uint32_t *mode);
bool hvt_button_pressed(void); /* since the last call; from its interrupt handler */

bool hvt_acpi_power_off(void); /* comes back when the machine has no ACPI, or did not mind it */

#endif
