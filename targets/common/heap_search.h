/* SPDX-License-Identifier: MIT */
/*
 * heap_search.h: where in MicroPython's heap an allocation goes; for gc.c, as changed by changes/.
 *
 * The stock collector searches for anything longer than one block from the last place where there was one: quadratic on a
 * large heap. And it mixes buffers with objects: a heap of 3 MiB with 1 MiB in use fails to give 64 KiB. Here small
 * allocations go up from the bottom and large ones down from the top, each going on where the last one of its kind was
 * made (next-fit). When one kind meets the other, it is time to collect; only after that is all of the heap searched.
 *
 * The allocation table has two bits for each block, four blocks in an octet; 0 is a free block.
 */
#ifndef MIRAGE_HEAP_SEARCH_H
#define MIRAGE_HEAP_SEARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define HEAP_LARGE_BLOCKS 64 /* 2 KiB */
#define HEAP_BLOCKS_PER_OCTET 4
/* Freed memory attracts the search from as far as this: what is older is left for the collector. */
#define HEAP_NEAR_SMALL_OCTETS 64   /* 8 KiB */
#define HEAP_NEAR_LARGE_OCTETS 1024 /* 128 KiB */

/* Both count octets of the table. */
static size_t heap_large_index; /* large allocations are searched for below it */
static size_t heap_floor;       /* no large allocation is below it */

static bool heap_search_up(const uint8_t *table, size_t first, size_t end, size_t n_blocks, size_t *start_block) {
    size_t n_free = 0;
    for (size_t i = first; i < end; i++) {
        unsigned kinds = table[i];
        for (size_t k = 0; k < HEAP_BLOCKS_PER_OCTET; k++) {
            n_free = (kinds >> 2 * k & 3) == 0 ? n_free + 1 : 0;
            if (n_free == n_blocks) {
                *start_block = i * HEAP_BLOCKS_PER_OCTET + k + 1 - n_blocks;
                return true;
            }
        }
    }
    return false;
}

static bool heap_search_down(const uint8_t *table, size_t end, size_t first, size_t n_blocks, size_t *start_block) {
    size_t n_free = 0;
    for (size_t i = end; i > first;) {
        uint64_t word;
        if (i >= first + sizeof(word) && n_free + sizeof(word) * HEAP_BLOCKS_PER_OCTET < n_blocks) {
            memcpy(&word, table + i - sizeof(word), sizeof(word));
            if (word == 0) {
                i -= sizeof(word);
                n_free += sizeof(word) * HEAP_BLOCKS_PER_OCTET;
                continue;
            }
        }
        unsigned kinds = table[--i];
        for (size_t k = HEAP_BLOCKS_PER_OCTET; k-- > 0;) {
            n_free = (kinds >> 2 * k & 3) == 0 ? n_free + 1 : 0;
            if (n_free == n_blocks) {
                *start_block = i * HEAP_BLOCKS_PER_OCTET + k;
                return true;
            }
        }
    }
    return false;
}

/* `everywhere`: nothing can be collected (any more). false: there is no such run of free blocks, or it is time to collect. */
static bool heap_find(const uint8_t *table, size_t table_len, size_t *small_index, size_t n_blocks, bool everywhere,
    size_t *start_block) {
    if (n_blocks < HEAP_LARGE_BLOCKS) {
        bool found = heap_search_up(table, *small_index, heap_floor, n_blocks, start_block)
            || (everywhere && heap_search_up(table, 0, heap_floor, n_blocks, start_block));
        if (!found) {
            if (!everywhere || !heap_search_up(table, 0, table_len, n_blocks, start_block)) {
                return false;
            }
            heap_floor = table_len; /* the kinds are mixed until the next collection */
        }
        *small_index = (*start_block + n_blocks) / HEAP_BLOCKS_PER_OCTET;
        return true;
    }
    if (!heap_search_down(table, heap_large_index, everywhere ? 0 : *small_index, n_blocks, start_block)
        && !(everywhere && heap_search_down(table, table_len, 0, n_blocks, start_block))) {
        return false;
    }
    heap_large_index = *start_block / HEAP_BLOCKS_PER_OCTET + 1;
    if (heap_large_index - 1 < heap_floor) {
        heap_floor = heap_large_index - 1;
    }
    return true;
}

/* Blocks up to end_block (exclusive) were freed. */
static void heap_freed(size_t *small_index, size_t start_block, size_t end_block) {
    size_t first = start_block / HEAP_BLOCKS_PER_OCTET;
    if (first < *small_index && *small_index - first <= HEAP_NEAR_SMALL_OCTETS) {
        *small_index = first;
    }
    size_t end = (end_block + HEAP_BLOCKS_PER_OCTET - 1) / HEAP_BLOCKS_PER_OCTET;
    if (end > heap_large_index && end - heap_large_index <= HEAP_NEAR_LARGE_OCTETS) {
        heap_large_index = end;
    }
}

#endif
