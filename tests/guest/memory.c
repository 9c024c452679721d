/* SPDX-License-Identifier: MIT */
/* The shares of memory: sizes in KiB for the host to judge, every page of them there, DMA zero, and below 4 GiB. */
#include "guest.h"

static void touch(char *base, size_t len_bytes) {
    /* First and last page, and a few hundred between. */
    size_t step = len_bytes / 256 + 4096;
    for (size_t at = 0; at < len_bytes; at += step) {
        base[at] = 1;
    }
    base[len_bytes - 1] = 1;
}

int mirage_main(int argc, char **argv) {
    (void)argv;
    void *heap, *dma, *stack_top;
    uint64_t phys_addr;
    size_t heap_bytes, dma_bytes, stack_bytes;
    plat_heap(&heap, &heap_bytes);
    plat_dma(&dma, &phys_addr, &dma_bytes);
    plat_stack(&stack_top, &stack_bytes);
    CHECK(((uintptr_t)heap & 4095) == 0 && (phys_addr & 4095) == 0 && phys_addr == (uintptr_t)dma);
    CHECK(phys_addr + dma_bytes <= 1UL << 32);
    CHECK((uintptr_t)heap >= phys_addr + dma_bytes || (uintptr_t)heap + heap_bytes <= phys_addr);
    CHECK((uintptr_t)&argc < (uintptr_t)stack_top && (uintptr_t)&argc > (uintptr_t)stack_top - stack_bytes);
    for (size_t i = 0; i < dma_bytes / 8; i++) {
        CHECK(((volatile uint64_t *)dma)[i] == 0);
    }
    touch(dma, dma_bytes);
    touch(heap, heap_bytes);
    CHECK(plat_map_mmio(phys_addr, 4096) == NULL);
    CHECK(plat_map_mmio((uint64_t)heap, 1) == NULL);
    CHECK(plat_map_mmio(0xfed00000, 0) == NULL);
    CHECK(plat_map_mmio(UINT64_MAX - 4095, 8192) == NULL);
    CHECK(plat_map_mmio(1UL << 60, 4096) == NULL);
    say("ram %u heap %u dma %u stack %u\n", (uint64_t)plat_ram_bytes() >> 10, (uint64_t)heap_bytes >> 10,
        (uint64_t)dma_bytes >> 10, (uint64_t)stack_bytes >> 10);
    return 0;
}
