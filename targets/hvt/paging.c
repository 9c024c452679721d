/* SPDX-License-Identifier: MIT */
/*
 * paging.c: four-level page tables, every address mapped onto itself (Intel SDM vol. 3, 4.5).
 *
 * Absent is the rule: mapped are the image with its protections, the RAM in use, and what a driver or the ACPI code
 * asks for.
 */
#include "hvt.h"

#define PRESENT 1UL
#define LARGE (1UL << 7)
#define ACCESSED_DIRTY (3UL << 5) /* set at once: saves the CPU a locked write at the first access */
#define TABLE_FLAGS (PRESENT | PAGE_WRITE | 1UL << 5)
#define ADDR_MASK 0x000ffffffffff000UL
#define LEVEL_SHIFT(level) (12 + 9 * (level)) /* level 0: page table, 3: PML4 */

static uint64_t *root;
static uint64_t pool_next, pool_end;
static int largest_level = 1;
static uint64_t nx_mask = PAGE_NX; /* 0 on a CPU without NX, where the bit is reserved */

void hvt_paging_pool(uint64_t base, uint64_t len_bytes) {
    pool_next = base;
    pool_end = base + len_bytes;
}

size_t hvt_paging_pool_left(void) {
    return (pool_end - pool_next) / PAGE_SIZE;
}

static uint64_t *new_table(void) {
    if (pool_next == pool_end) {
        return NULL;
    }
    uint64_t *table = (uint64_t *)pool_next;
    pool_next += PAGE_SIZE;
    for (size_t i = 0; i < 512; i++) {
        table[i] = 0;
    }
    return table;
}

static bool prepare(void) {
    cpuid_t features = cpuid(0x80000001, 0);
    if (features.edx & (1u << 26)) { /* 1 GiB pages */
        largest_level = 2;
    }
    if (!(features.edx & (1u << 20))) {
        nx_mask = 0;
    }
    root = new_table();
    return root != NULL;
}

bool hvt_map(uint64_t phys_addr, uint64_t len_bytes, uint64_t flags) {
    if (root == NULL && !prepare()) {
        return false;
    }
    flags = (flags & ~PAGE_NX) | (flags & nx_mask) | PRESENT | ACCESSED_DIRTY;
    uint64_t end = phys_addr + len_bytes;
    while (phys_addr < end) {
        uint64_t *table = root;
        for (int level = 3;; level--) {
            uint64_t *entry = &table[phys_addr >> LEVEL_SHIFT(level) & 511];
            uint64_t span = 1UL << LEVEL_SHIFT(level);
            bool fits = (phys_addr & (span - 1)) == 0 && end - phys_addr >= span;
            if (level <= largest_level && fits && !(*entry & PRESENT)) {
                *entry = phys_addr | flags | (level > 0 ? LARGE : 0);
            }
            if (level == 0 || ((*entry & PRESENT) && (*entry & LARGE))) {
                phys_addr = (phys_addr & ~(span - 1)) + span;
                break;
            }
            if (!(*entry & PRESENT)) {
                uint64_t *next = new_table();
                if (next == NULL) {
                    return false;
                }
                *entry = (uint64_t)next | TABLE_FLAGS;
            }
            table = (uint64_t *)(*entry & ADDR_MASK);
        }
    }
    return true;
}

bool hvt_is_mapped(uint64_t virt_addr) {
    if (root == NULL || virt_addr >> 47 != 0) {
        return false;
    }
    uint64_t *table = root;
    for (int level = 3;; level--) {
        uint64_t entry = table[virt_addr >> LEVEL_SHIFT(level) & 511];
        if (!(entry & PRESENT)) {
            return false;
        }
        if (level == 0 || (entry & LARGE)) {
            return true;
        }
        table = (uint64_t *)(entry & ADDR_MASK);
    }
}

void hvt_paging_enable(void) {
    /* The tables themselves must be reachable; where they lie in the main range that is mapped with the rest. */
    uint64_t pool_page = (uint64_t)root;
    hvt_map(pool_page, pool_end - pool_page, PAGE_WRITE | PAGE_NX);
    __asm__ volatile("movq %0, %%cr3" : : "r"(root) : "memory");
}

uint64_t hvt_phys_limit(void) {
    uint32_t bits = 36;
    if (cpuid(0x80000000, 0).eax >= 0x80000008) {
        bits = cpuid(0x80000008, 0).eax & 0xff;
    }
    /* Four levels of tables map 47 bits below the non-canonical hole. */
    return 1UL << (bits < 47 ? bits : 47);
}

bool hvt_map_readable(uint64_t phys_addr, uint64_t len_bytes) {
    uint64_t start = phys_addr & ~PAGE_MASK;
    uint64_t end = (phys_addr + len_bytes + PAGE_MASK) & ~PAGE_MASK;
    if (start == 0 || end <= start || end > hvt_phys_limit()) {
        return false;
    }
    return hvt_map(start, end - start, PAGE_NX);
}
