/* SPDX-License-Identifier: MIT */
/*
 * memory.c: what RAM there is (from the PVH memory map), and who gets it.
 *
 *   below 640 KiB      page tables (too little and too far away for anything else)
 *   1 MiB              the image, its guard page and stack (link.ld)
 *   next page          the restart cookie
 *   then               the DMA region: a quarter of the RAM, at most 16 MiB, below 4 GiB
 *   then               the collected heap: what is left there, or the largest other range when that is larger
 */
#include "hvt.h"

#define MEMMAP_MAX 128 /* QEMU's option ROM passes at most 128 entries */
#define RANGES_MAX 16
#define LOW_MEMORY_END 0x9f000UL
#define LOW_MEMORY_START 0x1000UL /* page zero is never mapped */
#define POOL_PAGES_MAX 158
#define POOL_PAGES_KEPT 32 /* page tables for devices: a page and two levels for each of a dozen */
#define POOL_PAGES_MIN 48
#define DMA_BYTES_MIN (256UL << 10)
#define DMA_BYTES_MAX (16UL << 20)
#define HEAP_BYTES_MIN (448UL << 10) /* link.ld has it too; the modules of a network stack take 300 KiB */
#define COOKIE 0x6d69726167652d70UL

/* An application that wants another share for DMA defines this; 0 leaves it to us. */
__attribute__((weak)) const size_t mirage_dma_bytes = 0;

typedef struct {
    uint64_t start, end;
} range_t;

static hvt_memmap_t memmap[MEMMAP_MAX];
static size_t memmap_count;
static range_t ranges[RANGES_MAX]; /* RAM in whole pages, without what another entry claims too */
static size_t range_count;
static uint64_t ram_bytes;
static range_t heap, dma;

static void add_range(uint64_t start, uint64_t end, size_t after) {
    start = (start + PAGE_MASK) & ~PAGE_MASK;
    end &= ~PAGE_MASK;
    /* What overlaps is not ours, whatever the order of the entries. */
    for (size_t i = after; i < memmap_count && start < end; i++) {
        const hvt_memmap_t *m = &memmap[i];
        uint64_t m_end = m->base + m->len_bytes;
        if (m->type == MEMMAP_RAM || m->base >= end || m_end <= start) {
            continue;
        }
        if (m->base > start) {
            add_range(start, m->base, i + 1);
        }
        start = (m_end + PAGE_MASK) & ~PAGE_MASK;
    }
    if (start < end && range_count < RANGES_MAX) {
        ranges[range_count++] = (range_t){start, end};
    }
}

static uint64_t range_len(const range_t *r) {
    return r->end - r->start;
}

/* Maps as much RAM as the tables hold, keeping some for devices. Returns the new end. */
static uint64_t map_ram(uint64_t start, uint64_t end) {
    const uint64_t step = 1UL << 30;
    uint64_t at = start;
    while (at < end) {
        uint64_t next = (at + step) & ~(step - 1);
        if (next > end) {
            next = end;
        }
        if (hvt_paging_pool_left() < POOL_PAGES_KEPT || !hvt_map(at, next - at, PAGE_WRITE | PAGE_NX)) {
            break;
        }
        at = next;
    }
    return at;
}

/* RAM under a fresh VMM is zero, and writing zeros would make the host find pages for all of the region. After a
 * restart of the same machine it is not: then the page before the region still holds our mark. (Firmware works at the
 * top of RAM and below 1 MiB; the region lies just above the image.) */
static void zero_dma_after_restart(uint64_t *cookie_page) {
    if (cookie_page[0] == COOKIE) {
        for (uint64_t *p = (uint64_t *)dma.start; p < (uint64_t *)dma.end; p += 4) {
            p[0] = p[1] = p[2] = p[3] = 0;
        }
    }
    cookie_page[0] = COOKIE;
}

static void choose_pool(uint64_t *main_start) {
    uint64_t base = 0, len_bytes = 0;
    for (size_t i = 0; i < range_count; i++) {
        uint64_t start = ranges[i].start < LOW_MEMORY_START ? LOW_MEMORY_START : ranges[i].start;
        uint64_t end = ranges[i].end > LOW_MEMORY_END ? LOW_MEMORY_END : ranges[i].end;
        if (start < end && end - start > len_bytes) {
            base = start;
            len_bytes = end - start;
        }
    }
    if (len_bytes < POOL_PAGES_MIN * PAGE_SIZE) {
        base = *main_start;
        len_bytes = POOL_PAGES_MIN * PAGE_SIZE;
        *main_start += len_bytes;
    } else if (len_bytes > POOL_PAGES_MAX * PAGE_SIZE) {
        len_bytes = POOL_PAGES_MAX * PAGE_SIZE;
    }
    hvt_paging_pool(base, len_bytes);
}

static void map_image(void) {
    struct {
        const char *start, *end;
        uint64_t flags;
    } parts[] = {
        {hvt_image_start, hvt_text_end, 0},
        {hvt_rodata_start, hvt_rodata_end, PAGE_NX},
        {hvt_data_start, hvt_data_end, PAGE_WRITE | PAGE_NX},
        /* and not hvt_guard_start .. hvt_stack_bottom */
        {hvt_stack_bottom, hvt_stack_top, PAGE_WRITE | PAGE_NX},
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        hvt_map((uint64_t)parts[i].start, (uint64_t)(parts[i].end - parts[i].start), parts[i].flags);
    }
}

bool hvt_memory_init(const hvt_memmap_t *map, size_t count) {
    memmap_count = count < MEMMAP_MAX ? count : MEMMAP_MAX;
    for (size_t i = 0; i < memmap_count; i++) {
        memmap[i] = map[i];
    }
    range_t main_range = {0, 0};
    for (size_t i = 0; i < memmap_count; i++) {
        if (memmap[i].type == MEMMAP_RAM) {
            ram_bytes += memmap[i].len_bytes;
            add_range(memmap[i].base, memmap[i].base + memmap[i].len_bytes, 0);
        }
    }
    for (size_t i = 0; i < range_count; i++) {
        if (ranges[i].start <= (uint64_t)hvt_image_start && (uint64_t)hvt_image_end <= ranges[i].end) {
            main_range = (range_t){(uint64_t)hvt_image_end, ranges[i].end};
        }
    }
    if (main_range.end > 1UL << 32) {
        main_range.end = 1UL << 32;
    }

    choose_pool(&main_range.start);
    uint64_t *cookie_page = (uint64_t *)main_range.start;
    dma.start = main_range.start + PAGE_SIZE;
    uint64_t want = mirage_dma_bytes != 0 ? mirage_dma_bytes : ram_bytes / 4;
    if (mirage_dma_bytes == 0 && want > DMA_BYTES_MAX) {
        want = DMA_BYTES_MAX;
    }
    /* In a small machine the heap comes first: without it nothing starts. */
    uint64_t room = dma.start + HEAP_BYTES_MIN < main_range.end ? main_range.end - dma.start - HEAP_BYTES_MIN : 0;
    if (mirage_dma_bytes == 0 && want > room) {
        want = room & ~PAGE_MASK;
    }
    if (want < DMA_BYTES_MIN) {
        want = DMA_BYTES_MIN;
    }
    dma.end = dma.start + ((want + PAGE_MASK) & ~PAGE_MASK);
    if (dma.end < dma.start || dma.end + HEAP_BYTES_MIN > main_range.end) {
        return false;
    }

    map_image();
    heap = (range_t){dma.end, map_ram((uint64_t)cookie_page, main_range.end)};
    for (size_t i = 0; i < range_count; i++) {
        if (ranges[i].start >= main_range.end && range_len(&ranges[i]) > range_len(&heap)) {
            heap = (range_t){ranges[i].start, map_ram(ranges[i].start, ranges[i].end)};
        }
    }
    hvt_paging_enable();
    zero_dma_after_restart(cookie_page);
    return true;
}

bool hvt_memory_is_ram(uint64_t phys_addr, uint64_t len_bytes) {
    for (size_t i = 0; i < memmap_count; i++) {
        const hvt_memmap_t *m = &memmap[i];
        if (m->type == MEMMAP_RAM && phys_addr < m->base + m->len_bytes && phys_addr + len_bytes > m->base) {
            return true;
        }
    }
    return false;
}

void *plat_map_mmio(uint64_t phys_addr, size_t len_bytes) {
    uint64_t limit = hvt_phys_limit();
    if (len_bytes == 0 || phys_addr >= limit || len_bytes > limit - phys_addr) {
        return NULL;
    }
    uint64_t start = phys_addr & ~PAGE_MASK;
    uint64_t end = (phys_addr + len_bytes + PAGE_MASK) & ~PAGE_MASK;
    if (start == 0 || hvt_memory_is_ram(start, end - start)) {
        return NULL;
    }
    return hvt_map(start, end - start, PAGE_WRITE | PAGE_UNCACHED | PAGE_NX) ? (void *)phys_addr : NULL;
}

static uint64_t top_below(uint64_t limit) {
    uint64_t top = 0;
    for (size_t i = 0; i < memmap_count; i++) {
        uint64_t end = memmap[i].base + memmap[i].len_bytes;
        if (memmap[i].type == MEMMAP_RAM && memmap[i].base < limit && end > top) {
            top = end;
        }
    }
    return top;
}

uint64_t hvt_memory_top(void) {
    return top_below(UINT64_MAX);
}

uint64_t hvt_memory_top_below_4g(void) {
    return top_below(1UL << 32);
}

bool hvt_memory_gap(uint64_t *start, uint64_t *end, uint64_t limit) {
    /* Entries may touch or overlap, in any order: go on until no entry covers *start. */
    for (size_t i = 0; i < memmap_count; i++) {
        uint64_t m_end = memmap[i].base + memmap[i].len_bytes;
        if (memmap[i].base <= *start && *start < m_end) {
            *start = m_end;
            i = (size_t)-1;
        }
    }
    *end = limit;
    for (size_t i = 0; i < memmap_count; i++) {
        if (memmap[i].base >= *start && memmap[i].base < *end) {
            *end = memmap[i].base;
        }
    }
    return *start < *end;
}

void plat_heap(void **base, size_t *len_bytes) {
    *base = (void *)heap.start;
    *len_bytes = range_len(&heap);
}

void plat_dma(void **base, uint64_t *phys_addr, size_t *len_bytes) {
    *base = (void *)dma.start;
    *phys_addr = dma.start;
    *len_bytes = range_len(&dma);
}

size_t plat_ram_bytes(void) {
    return ram_bytes;
}

void plat_stack(void **top, size_t *len_bytes) {
    *top = hvt_stack_top;
    *len_bytes = (size_t)(hvt_stack_top - hvt_stack_bottom);
}
