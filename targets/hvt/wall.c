/* SPDX-License-Identifier: MIT */
/*
 * wall.c: wall time, from the KVM clock, or from the CMOS clock (Motorola MC146818A). That one has whole seconds and
 * says when one begins, by an interrupt. Nobody waits for it: until then the clock is half a second wrong at most, and
 * the first time that the machine is asleep when a second begins, it is set right. It does not go back for that: it
 * goes at half its rate for as long as it takes, a second at most.
 */
#include "hvt.h"

#pragma GCC target("general-regs-only") /* called by an interrupt handler */

#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define CMOS_STATUS_A 0x0a
#define CMOS_STATUS_B 0x0b
#define STATUS_A_UIP 0x80
#define STATUS_B_BINARY 0x04
#define STATUS_B_24H 0x02
#define CMOS_CENTURY 0x32
#define CMOS_TRIES 1000
#define CMOS_STATUS_C 0x0c /* reading it quiets the interrupt */
#define STATUS_B_UPDATE_ENDED 0x10

static uint64_t wall_offset_ns;
static bool have_wall_offset;
static uint64_t ahead_ns, ahead_since_ns; /* how far it was ahead when it was set right, and when that was */

static uint8_t cmos_read(uint8_t reg) {
    outb(CMOS_INDEX, reg);
    return inb(CMOS_DATA);
}

static void cmos_write(uint8_t reg, uint8_t value) {
    outb(CMOS_INDEX, reg);
    outb(CMOS_DATA, value);
}

static uint64_t days_from_civil(uint64_t year, uint64_t month, uint64_t day) {
    /* Days since 1970-01-01 in the Gregorian calendar, counting years from March, so that the leap day comes last. */
    year -= month <= 2;
    uint64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
}

/* Seconds since 1970 from the CMOS clock (Motorola MC146818A), taken as UTC. 0 where there is none. */
static uint64_t cmos_seconds(void) {
    static const uint8_t regs[] = {0x00, 0x02, 0x04, 0x07, 0x08, 0x09, CMOS_CENTURY};
    uint8_t value[ARRAY_LEN(regs)], again[ARRAY_LEN(regs)];
    uint8_t status_b = cmos_read(CMOS_STATUS_B);
    bool same = false;
    /* An update in between would mix two times: read until two readings agree. */
    for (int tries = 0; tries < CMOS_TRIES && !same; tries++) {
        if (cmos_read(CMOS_STATUS_A) & STATUS_A_UIP) {
            continue;
        }
        same = true;
        for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
            value[i] = cmos_read(regs[i]);
        }
        for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
            again[i] = cmos_read(regs[i]);
            same = same && again[i] == value[i];
        }
    }
    bool pm = (value[2] & 0x80) != 0 && !(status_b & STATUS_B_24H);
    value[2] &= 0x7f;
    for (size_t i = 0; i < ARRAY_LEN(regs) && !(status_b & STATUS_B_BINARY); i++) {
        value[i] = (uint8_t)((value[i] >> 4) * 10 + (value[i] & 15));
    }
    if (!(status_b & STATUS_B_24H)) {
        value[2] = (uint8_t)(value[2] % 12 + (pm ? 12 : 0));
    }
    uint64_t century = value[6] >= 19 && value[6] <= 29 ? value[6] : 20;
    bool is_time = value[0] < 60 && value[1] < 60 && value[2] < 24;
    bool is_date = value[3] >= 1 && value[3] <= 31 && value[4] >= 1 && value[4] <= 12;
    uint64_t year = century * 100 + value[5];
    if (!same || !is_time || !is_date || year < 1970) { /* whose clock says less, has none */
        return 0;
    }
    uint64_t days = days_from_civil(year, value[4], value[3]);
    return ((days * 24 + value[2]) * 60 + value[1]) * 60 + value[0];
}

void hvt_wall_second_begins(bool is_now) {
    cmos_read(CMOS_STATUS_C);
    if (!is_now) {
        return; /* the processor was busy, and may have been for long: the next one */
    }
    uint64_t now_ns = plat_monotonic_ns();
    uint64_t seconds = cmos_seconds();
    cmos_write(CMOS_STATUS_B, (uint8_t)(cmos_read(CMOS_STATUS_B) & ~STATUS_B_UPDATE_ENDED));
    hvt_ioapic_mask(IRQ_CMOS);
    if (seconds != 0) {
        uint64_t offset_ns = seconds * NS_PER_S - now_ns;
        ahead_ns = wall_offset_ns > offset_ns && wall_offset_ns - offset_ns < NS_PER_S ? wall_offset_ns - offset_ns : 0;
        ahead_since_ns = now_ns;
        wall_offset_ns = offset_ns;
    }
}

uint64_t plat_wall_ns(void) {
    if (!have_wall_offset) {
        have_wall_offset = true;
        wall_offset_ns = hvt_kvm_wall_offset_ns();
        uint64_t seconds = wall_offset_ns == 0 ? cmos_seconds() : 0;
        if (seconds != 0) {
            /* Somewhere in that second: the middle is wrong by half of one at most. */
            wall_offset_ns = seconds * NS_PER_S + NS_PER_S / 2 - plat_monotonic_ns();
            if (hvt_ioapic_lines() > IRQ_CMOS) {
                uint64_t rflags = irq_save(); /* the handler reads registers too */
                hvt_ioapic_route(IRQ_CMOS, VECTOR_CMOS);
                cmos_write(CMOS_STATUS_B, cmos_read(CMOS_STATUS_B) | STATUS_B_UPDATE_ENDED);
                cmos_read(CMOS_STATUS_C);
                irq_restore(rflags);
            }
        }
    }
    uint64_t now_ns = plat_monotonic_ns();
    uint64_t made_up_ns = (now_ns - ahead_since_ns) / 2;
    return wall_offset_ns + now_ns + (made_up_ns < ahead_ns ? ahead_ns - made_up_ns : 0);
}
