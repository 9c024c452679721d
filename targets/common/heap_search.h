/* SPDX-License-Identifier: MIT */
/*
 * heap_search.h: where in MicroPython's heap an allocation goes; for gc.c, as changed by changes/.
 *
 * The stock collector searches for anything longer than one block from the last place where there was one: quadratic on a
 * large heap. And it mixes buffers with objects: a heap of 3 MiB with 1 MiB in use fails to give 64 KiB. Here each kind has
 * a part of the heap, and goes on where the last one of its kind was made (next-fit):
 *
 *     | the nursery: objects, up | octets of half a KiB to 8 KiB, up ->     <- longer octets, down | large tables |
 *
 * Nothing moves, so what lives long stays where it was made, and splits the heap there. Objects are therefore made in the
 * lowest part of the heap that has room for a share of it (the nursery), and it is time to collect when that is full, not
 * when all of the heap has been gone through: what survives is low. A large table lives long, and goes as high as it can. It
 * is time to collect as well when two kinds meet. Only after a collection is all of the heap searched
 * (docs/decisions/0015).
 *
 * The allocation table has two bits for each block, four blocks in an octet; 0 is a free block.
 */
#ifndef MIRAGE_HEAP_SEARCH_H
#define MIRAGE_HEAP_SEARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define HEAP_OCTETS_BLOCKS 16 /* 512 octets: what is shorter is with the objects */
#define HEAP_LARGE_BLOCKS 256 /* 8 KiB */
#define HEAP_TABLE_BLOCKS 8   /* 256 octets: what is longer has a cursor of its own, and passes small holes by */
#define HEAP_BLOCKS_PER_OCTET 4
/* Freed memory attracts the search from as far as this: what is older is left for the collector. */
#define HEAP_NEAR_SMALL_OCTETS 64   /* 8 KiB */
#define HEAP_NEAR_LARGE_OCTETS 1024 /* 128 KiB */
/*
 * The nursery's room, of a table of that length with so many octets in use. A collection takes time for each octet in use:
 * the smaller the nursery, the lower is what survives, and the more is spent.
 */
#define HEAP_NURSERY_OCTETS(table_len) ((table_len) / 5 < (1 << 15) ? (table_len) / 5 : 1 << 15) /* 4 MiB at most */
#define HEAP_NURSERY_OF_USED(used, table_len) ((used) * 3 > (table_len) ? (used) : (used) / 2)

/* All but the last count octets of the table. */
static size_t heap_large_index;   /* long octets are searched for below it */
static size_t heap_octets_index;  /* those of middle length above it */
static size_t heap_octets_since;  /* blocks of both made since the last collection */
static size_t heap_table_index;   /* objects of more than HEAP_TABLE_BLOCKS are searched for above it */
static size_t heap_growth_index;  /* those among them that grow */
static size_t heap_nursery_end;   /* objects go below it */
static size_t heap_nursery_room;  /* octets of free blocks below it, after a collection */
static size_t heap_since;         /* blocks of objects made since then */

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

/* Moves the nursery's end up until `room` more octets' worth of blocks are free below it. */
static void heap_extend_nursery(const uint8_t *table, size_t table_len, size_t room) {
    size_t n_free = 0, i = heap_nursery_end;
    for (; i + sizeof(uint64_t) <= table_len && n_free < room * HEAP_BLOCKS_PER_OCTET; i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, table + i, sizeof(word));
        uint64_t used = (word | word >> 1) & UINT64_C(0x5555555555555555);
        /* The blocks in use, summed up in bytes, then over them. */
        used = (used & UINT64_C(0x3333333333333333)) + (used >> 2 & UINT64_C(0x3333333333333333));
        used = (used + (used >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
        n_free += sizeof(word) * HEAP_BLOCKS_PER_OCTET - (used * UINT64_C(0x0101010101010101) >> 56);
    }
    heap_nursery_end = i + sizeof(uint64_t) <= table_len ? i : table_len;
}

/* After a collection that left this many blocks in use, and when the heap is made. */
static void heap_collected(const uint8_t *table, size_t table_len, size_t *small_index, size_t n_used) {
    size_t room = HEAP_NURSERY_OCTETS(table_len);
    size_t room_of_used = HEAP_NURSERY_OF_USED(n_used / HEAP_BLOCKS_PER_OCTET, table_len);
    heap_nursery_room = room > room_of_used ? room : room_of_used;
    heap_nursery_end = 0;
    heap_extend_nursery(table, table_len, heap_nursery_room);
    *small_index = heap_table_index = heap_growth_index = heap_since = heap_octets_since = 0;
    heap_octets_index = heap_nursery_end;
    heap_large_index = table_len;
}

static bool heap_find_object(const uint8_t *table, size_t table_len, size_t *index, size_t n_blocks, bool everywhere,
    size_t *start_block) {
    bool found = heap_search_up(table, *index, heap_nursery_end, n_blocks, start_block)
        || (everywhere && heap_search_up(table, 0, heap_nursery_end, n_blocks, start_block));
    while (!found) {
        /* A collection must be worth it: where only the holes are too small for this one, the nursery is made larger. */
        bool is_full = heap_since * 8 >= heap_nursery_room * HEAP_BLOCKS_PER_OCTET * 7;
        if (heap_nursery_end == table_len || (is_full && !everywhere)) {
            return false;
        }
        size_t reach = n_blocks / HEAP_BLOCKS_PER_OCTET + 1;
        *index = heap_nursery_end > reach ? heap_nursery_end - reach : 0;
        heap_extend_nursery(table, table_len, heap_nursery_room / 8 + 1);
        found = heap_search_up(table, *index, heap_nursery_end, n_blocks, start_block);
    }
    *index = (*start_block + n_blocks) / HEAP_BLOCKS_PER_OCTET;
    heap_since += n_blocks;
    return true;
}

/* What an allocation is for; objects, where it is neither. */
#define HEAP_FOR_OCTETS 2
#define HEAP_FOR_GROWTH 4 /* in place of a smaller one: it may live long, and has a cursor of its own, which stays low */

/*
 * `everywhere`: nothing can be collected (any more). false: there is no such run of free
 * blocks, or it is time to collect.
 */
static bool heap_find(const uint8_t *table, size_t table_len, size_t *small_index, size_t n_blocks, unsigned kind,
    bool everywhere, size_t *start_block) {
    bool is_octets = kind & HEAP_FOR_OCTETS;
    if (n_blocks < (is_octets ? HEAP_OCTETS_BLOCKS : HEAP_LARGE_BLOCKS)) {
        size_t *index = n_blocks <= HEAP_TABLE_BLOCKS ? small_index
            : (kind & HEAP_FOR_GROWTH) ? &heap_growth_index : &heap_table_index;
        return heap_find_object(table, table_len, index, n_blocks, everywhere, start_block);
    }
    if (!is_octets) {
        /* Rare; worth a collection that frees the top of the heap. */
        return (everywhere || heap_since + heap_octets_since < table_len / 4)
            && (heap_search_down(table, table_len, heap_nursery_end, n_blocks, start_block)
                || (everywhere && heap_search_down(table, table_len, 0, n_blocks, start_block)));
    }
    bool is_long = n_blocks >= HEAP_LARGE_BLOCKS;
    bool found = is_long ? heap_search_down(table, heap_large_index, heap_octets_index, n_blocks, start_block)
        : heap_search_up(table, heap_octets_index, heap_large_index, n_blocks, start_block);
    if (!found && !(everywhere && heap_search_down(table, table_len, 0, n_blocks, start_block))) {
        return false;
    }
    if (found && is_long) {
        heap_large_index = *start_block / HEAP_BLOCKS_PER_OCTET + 1;
    } else if (found) {
        heap_octets_index = (*start_block + n_blocks) / HEAP_BLOCKS_PER_OCTET;
    }
    heap_octets_since += n_blocks;
    return true;
}

/* Blocks up to end_block (exclusive) were freed. */
static void heap_freed(size_t *small_index, size_t start_block, size_t end_block) {
    size_t first = start_block / HEAP_BLOCKS_PER_OCTET;
    if (first < *small_index && *small_index - first <= HEAP_NEAR_SMALL_OCTETS) {
        *small_index = first;
    }
    if (first < heap_table_index && heap_table_index - first <= HEAP_NEAR_SMALL_OCTETS) {
        heap_table_index = first;
    }
    if (first < heap_octets_index && heap_octets_index - first <= HEAP_NEAR_SMALL_OCTETS && first >= heap_nursery_end) {
        heap_octets_index = first;
    }
    size_t end = (end_block + HEAP_BLOCKS_PER_OCTET - 1) / HEAP_BLOCKS_PER_OCTET;
    if (end > heap_large_index && end - heap_large_index <= HEAP_NEAR_LARGE_OCTETS) {
        heap_large_index = end;
    }
}

#endif
