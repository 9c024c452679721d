/* SPDX-License-Identifier: MIT */
/*
 * clock.c: monotonic time from the TSC or the KVM clock.
 *
 * The rate of the TSC, best source first: the KVM clock gives it; CPUID leaf 0x40000010 or 0x15 names it (not under
 * TCG, whose TSC follows the host's whatever CPUID says); else it is measured for half a millisecond against the
 * LAPIC timer, whose clock QEMU and KVM fix at 1 GHz (hw/intc/apic.c, APIC_BUS_CYCLE_NS); else, under an unknown VMM,
 * for five against the 8254. A microvm has no 8254, no port 0x61 and no ACPI timer.
 */
#include "hvt.h"

#pragma GCC target("general-regs-only") /* an interrupt handler asks for the time (wall.c) */

#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01
#define KVM_FEATURE_CLOCKSOURCE2 (1u << 3)
#define LAPIC_TICK_NS LAPIC_DIVISOR
#define LAPIC_MEASURE_NS 500000
#define PIT_HZ 1193182UL
#define PIT_MEASURE_TICKS 5966 /* 5 ms */
#define PIT_COUNTER0 0x40
#define PIT_CONTROL 0x43
#define SAMPLES 8

/* Documentation/virt/kvm/x86/msr.rst */
typedef struct {
    volatile uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad[2];
} kvm_time_t;
typedef struct {
    volatile uint32_t version;
    uint32_t sec, nsec;
} kvm_wall_t;

static kvm_time_t kvm_time __attribute__((aligned(64)));
static bool have_kvm_clock;
static uint64_t tsc_start;
static uint64_t tsc_mul;                            /* ns per TSC tick, 32.32 */
static uint64_t lapic_mul = (1UL << 32) / LAPIC_TICK_NS; /* LAPIC ticks per ns, 32.32 */
static uint64_t last_ns;

static uint64_t scale(uint64_t value, uint64_t mul_32_32) {
    return (uint64_t)((unsigned __int128)value * mul_32_32 >> 32);
}

static uint64_t pit_sample(void) {
    outb(PIT_CONTROL, 0x00); /* latch counter 0 */
    uint8_t low = inb(PIT_COUNTER0);
    return (uint64_t)inb(PIT_COUNTER0) << 8 | low;
}

/* Reads a counter between two looks at the TSC, some times over, and keeps the closest pair: the others were
 * interrupted. */
static uint64_t sample(uint64_t (*counter)(void), uint64_t *tsc) {
    uint64_t best = UINT64_MAX, value = 0;
    for (int i = 0; i < SAMPLES; i++) {
        uint64_t before = rdtsc();
        uint64_t v = counter();
        uint64_t took = rdtsc() - before;
        if (took < best) {
            best = took;
            value = v;
            *tsc = before + took / 2;
        }
    }
    return value;
}

/* How far the TSC goes while the down counter makes at least `ticks`; *ticks becomes how many it made. 0 when it
 * stands. */
static uint64_t measure(uint64_t (*counter)(void), uint64_t *ticks) {
    uint64_t tsc0 = 0, tsc1 = 0;
    uint64_t start = sample(counter, &tsc0);
    for (uint32_t spins = 0; start - counter() < *ticks; spins++) {
        if (spins > 2000000) {
            return 0;
        }
    }
    *ticks = start - sample(counter, &tsc1);
    return tsc1 - tsc0;
}

static void set_tsc_khz(uint64_t khz) {
    tsc_mul = (1000000UL << 32) / khz;
}

/* The leaf of a hypervisor whose signature in EBX, ECX, EDX is this. KVM moves up by 0x100 when it shows Hyper-V's
 * leaves too. */
static uint32_t hypervisor_leaf(uint32_t ebx, uint32_t ecx, uint32_t edx) {
    if (!(cpuid(1, 0).ecx >> 31)) {
        return 0;
    }
    for (uint32_t leaf = 0x40000000; leaf <= 0x40000100; leaf += 0x100) {
        cpuid_t r = cpuid(leaf, 0);
        if (r.ebx == ebx && r.ecx == ecx && r.edx == edx) {
            return leaf;
        }
    }
    return 0;
}

static bool kvm_clock_init(uint32_t leaf) {
    if (!(cpuid(leaf + 1, 0).eax & KVM_FEATURE_CLOCKSOURCE2)) {
        return false;
    }
    wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (uint64_t)&kvm_time | 1);
    have_kvm_clock = kvm_time.version != 0 && kvm_time.tsc_to_system_mul != 0;
    return have_kvm_clock;
}

static bool cpuid_clock_init(void) {
    cpuid_t top = cpuid(0x40000000, 0);
    if ((cpuid(1, 0).ecx >> 31) && top.eax >= 0x40000010 && top.eax < 0x40000100) {
        cpuid_t timing = cpuid(0x40000010, 0); /* VMware's, which QEMU and KVM took over: kHz of TSC and bus */
        if (timing.eax != 0) {
            set_tsc_khz(timing.eax);
            return true;
        }
    }
    if (cpuid(0, 0).eax >= 0x15) {
        cpuid_t crystal = cpuid(0x15, 0); /* TSC = crystal in ECX * EBX / EAX */
        if (crystal.eax != 0 && crystal.ebx != 0 && crystal.ecx != 0) {
            set_tsc_khz((uint64_t)crystal.ecx * crystal.ebx / crystal.eax / 1000);
            return tsc_mul != 0;
        }
    }
    return false;
}

static bool pit_clock_init(void) {
    outb(PIT_CONTROL, 0x34); /* counter 0, both bytes, mode 2, from 65536 */
    outb(PIT_COUNTER0, 0);
    outb(PIT_COUNTER0, 0);
    outb(PIT_CONTROL, 0xe2); /* read back the status: mode 2 is in bits 1-3 where there is a counter */
    if ((inb(PIT_COUNTER0) & 0x3f) != 0x34) {
        return false;
    }
    uint64_t ticks = PIT_MEASURE_TICKS;
    uint64_t tsc = measure(pit_sample, &ticks);
    if (tsc == 0) {
        return false;
    }
    tsc_mul = (ticks * NS_PER_S / PIT_HZ << 32) / tsc;
    return true;
}

void hvt_clock_init(void) {
    tsc_start = rdtsc();
    uint32_t kvm = hypervisor_leaf(0x4b4d564b, 0x564b4d56, 0x0000004d); /* "KVMKVMKVM" */
    uint32_t tcg = hypervisor_leaf(0x54474354, 0x43544743, 0x47435447); /* "TCGTCGTCGTCG" */
    if (kvm != 0 && (kvm_clock_init(kvm) || cpuid_clock_init())) {
        return;
    }
    bool have_tsc = (kvm | tcg) == 0 && (cpuid_clock_init() || pit_clock_init());
    uint64_t ticks = LAPIC_MEASURE_NS / LAPIC_TICK_NS;
    hvt_lapic_start(UINT32_MAX);
    uint64_t tsc = measure(hvt_lapic_ticks_left, &ticks);
    hvt_lapic_start(0);
    if (tsc == 0) {
        hvt_die("no clock: the LAPIC timer stands still", MIRAGE_EXIT_FAULT);
    }
    if (have_tsc) {
        lapic_mul = (ticks << 32) / scale(tsc, tsc_mul); /* an unknown VMM's bus clock need not be 1 GHz */
    } else {
        tsc_mul = (ticks * LAPIC_TICK_NS << 32) / tsc;
    }
}

uint64_t hvt_lapic_ticks(uint64_t duration_ns) {
    return scale(duration_ns, lapic_mul) + 1;
}

static uint64_t kvm_clock_ns(void) {
    uint32_t version;
    uint64_t ns;
    do {
        version = kvm_time.version;
        __asm__ volatile("lfence" : : : "memory");
        uint64_t delta = rdtsc() - kvm_time.tsc_timestamp;
        delta = kvm_time.tsc_shift >= 0 ? delta << kvm_time.tsc_shift : delta >> -kvm_time.tsc_shift;
        ns = kvm_time.system_time + scale(delta, kvm_time.tsc_to_system_mul);
        __asm__ volatile("lfence" : : : "memory");
    } while ((version & 1) || version != kvm_time.version);
    return ns;
}

uint64_t plat_monotonic_ns(void) {
    uint64_t ns = have_kvm_clock ? kvm_clock_ns() : scale(rdtsc() - tsc_start, tsc_mul);
    /* The host may correct the KVM clock; time does not go back for that. */
    if (ns > last_ns) {
        last_ns = ns;
    }
    return last_ns;
}

uint64_t hvt_kvm_wall_offset_ns(void) {
    static kvm_wall_t wall __attribute__((aligned(16)));
    if (have_kvm_clock) {
        wrmsr(MSR_KVM_WALL_CLOCK_NEW, (uint64_t)&wall);
    }
    return wall.version != 0 ? wall.sec * NS_PER_S + wall.nsec : 0;
}
