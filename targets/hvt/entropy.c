/* SPDX-License-Identifier: MIT */
/*
 * entropy.c: RDSEED, else RDRAND (Intel SDM vol. 1, 7.3.17). A machine with neither has no source: the jitter of an
 * emulated clock may be nothing at all (-icount), and no test tells.
 */
#include "hvt.h"

#define CPUID_1_ECX_RDRAND (1u << 30)
#define CPUID_7_EBX_RDSEED (1u << 18)
#define RDRAND_TRIES 10 /* Intel's DRNG guide, 5.2.1 */
#define RDSEED_TRIES 100

static bool rdseed(uint64_t *value) {
    bool ok = false;
    for (int i = 0; i < RDSEED_TRIES && !ok; i++) {
        __asm__ volatile("rdseed %0" : "=r"(*value), "=@ccc"(ok) : : "cc");
        if (!ok) {
            cpu_pause();
        }
    }
    return ok;
}

static bool rdrand(uint64_t *value) {
    bool ok = false;
    for (int i = 0; i < RDRAND_TRIES && !ok; i++) {
        __asm__ volatile("rdrand %0" : "=r"(*value), "=@ccc"(ok) : : "cc");
    }
    return ok;
}

bool plat_entropy(uint8_t *data, size_t len_bytes) {
    bool have_rdseed = cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & CPUID_7_EBX_RDSEED);
    bool have_rdrand = (cpuid(1, 0).ecx & CPUID_1_ECX_RDRAND) != 0;
    uint64_t previous = 0;
    for (size_t at = 0; at < len_bytes;) {
        uint64_t value;
        if (!(have_rdseed && rdseed(&value)) && !(have_rdrand && rdrand(&value))) {
            return false;
        }
        /* Some AMD CPUs answer all ones, with success, after a suspend; a stuck source repeats itself. */
        if (value == previous || value == UINT64_MAX) {
            return false;
        }
        previous = value;
        for (int i = 0; i < 8 && at < len_bytes; i++, value >>= 8) {
            data[at++] = (uint8_t)value;
        }
    }
    return true;
}
