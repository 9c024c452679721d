#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a changed copy of one of MicroPython's C files.

usage: patch_micropython.py py/gc.c ORIGINAL COPY

Every passage to change must occur exactly once, else nothing is written and the exit code is 1: a source that differs
from the one these changes were measured on is noticed when the runtime is built, not in a running guest.
"""

import sys
from pathlib import Path

# (what is there, what it becomes), in MicroPython 1.25.0
Changes = list[tuple[str, str]]

# The collector's allocator. The stock one moves its search position forward for allocations of one block only, so every
# larger one searches again from there: quadratic on a large heap. Here all sizes are next-fit, and memory that is freed
# explicitly attracts the position only from nearby (a free of something old would restart the search at the bottom).
NEAR_ATB_BYTES = 64  # 256 blocks, 8 KiB

ALLOCATOR: Changes = [
    (
        """    if (n_free == 1) {
        #if MICROPY_GC_SPLIT_HEAP
        MP_STATE_MEM(gc_last_free_area) = area;
        #endif
        area->gc_last_free_atb_index = (i + 1) / BLOCKS_PER_ATB;
    }
""",
        """    area->gc_last_free_atb_index = (i + 1) / BLOCKS_PER_ATB;
""",
    ),
    (
        "    if (block / BLOCKS_PER_ATB < area->gc_last_free_atb_index) {\n",
        f"""    if (block / BLOCKS_PER_ATB < area->gc_last_free_atb_index
        && area->gc_last_free_atb_index - block / BLOCKS_PER_ATB <= {NEAR_ATB_BYTES}) {{
""",
    ),
    (
        "        if ((block + new_blocks) / BLOCKS_PER_ATB < area->gc_last_free_atb_index) {\n",
        f"""        if ((block + new_blocks) / BLOCKS_PER_ATB < area->gc_last_free_atb_index
            && area->gc_last_free_atb_index - (block + new_blocks) / BLOCKS_PER_ATB <= {NEAR_ATB_BYTES}) {{
""",
    ),
    # Where no collection is allowed, or one was just made, what lies below the position is searched before giving up.
    (
        """                added = true;
                continue;
            }
            #endif
            return NULL;
""",
        """                added = true;
                continue;
            }
            #endif
            if (MP_STATE_MEM(area).gc_last_free_atb_index != 0) {
                MP_STATE_MEM(area).gc_last_free_atb_index = 0;
                GC_ENTER();
                continue;
            }
            return NULL;
""",
    ),
    # Looking for a long run, and marking it: whole bytes of the allocation table at a time.
    (
        """                byte a = area->gc_alloc_table_start[i];
                // *FORMAT-OFF*
""",
        """                byte a = area->gc_alloc_table_start[i];
                if (a == 0 && n_free + BLOCKS_PER_ATB < n_blocks) {
                    n_free += BLOCKS_PER_ATB;
                    continue;
                }
                // *FORMAT-OFF*
""",
    ),
    (
        """    for (size_t bl = start_block + 1; bl <= end_block; bl++) {
        ATB_FREE_TO_TAIL(area, bl);
    }
""",
        """    size_t bl = start_block + 1;
    for (; bl <= end_block && bl % BLOCKS_PER_ATB != 0; bl++) {
        ATB_FREE_TO_TAIL(area, bl);
    }
    if (bl + BLOCKS_PER_ATB <= end_block + 1) {
        size_t table_bytes = (end_block + 1 - bl) / BLOCKS_PER_ATB;
        memset(&area->gc_alloc_table_start[bl / BLOCKS_PER_ATB], 0x55 * AT_TAIL, table_bytes);
        bl += table_bytes * BLOCKS_PER_ATB;
    }
    for (; bl <= end_block; bl++) {
        ATB_FREE_TO_TAIL(area, bl);
    }
""",
    ),
    # With MICROPY_GC_CONSERVATIVE_CLEAR off, only the last block's rest is zeroed, and with it on, everything is, which
    # costs as much as filling it. In between: objects are zeroed whole, so that no stale pointer keeps garbage
    # alive; large allocations are buffers of octets, and tables that their owner clears.
    (
        "    memset((byte *)ret_ptr + n_bytes, 0, (end_block - start_block + 1) * BYTES_PER_BLOCK - n_bytes);\n",
        """    size_t kept = n_bytes >= 1024 ? n_bytes : 0;
    memset((byte *)ret_ptr + kept, 0, (end_block - start_block + 1) * BYTES_PER_BLOCK - kept);
""",
    ),
]

# Marking. The stock collector pushes all children of a block at once, and when that overflows its stack, it looks at
# every block of the heap again, once per stack's worth of a long list. Here a block's children are pushed in portions,
# with where to go on below them: the stack's depth follows the nesting, not the length. An entry is that word's index
# in the upper half, the block in the lower.
PORTION = 32

MARKING: Changes = [
    (
        """    size_t sp = 0;
    for (;;) {
        #if !MICROPY_GC_SPLIT_HEAP
        mp_state_mem_area_t *area = &MP_STATE_MEM(area);
        #endif

        // work out number of consecutive blocks in the chain starting with this one
        size_t n_blocks = 0;
        do {
            n_blocks += 1;
        } while (ATB_GET_KIND(area, block + n_blocks) == AT_TAIL);

        // check that the consecutive blocks didn't overflow past the end of the area
        assert(area->gc_pool_start + (block + n_blocks) * BYTES_PER_BLOCK <= area->gc_pool_end);

        // check this block's children
        void **ptrs = (void **)PTR_FROM_BLOCK(area, block);
        for (size_t i = n_blocks * BYTES_PER_BLOCK / sizeof(void *); i > 0; i--, ptrs++) {
            MICROPY_GC_HOOK_LOOP(i);
            void *ptr = *ptrs;
""",
        f"""    size_t sp = 0;
    size_t first_word = 0;
    for (;;) {{
        mp_state_mem_area_t *area = &MP_STATE_MEM(area);
        void **ptrs = (void **)PTR_FROM_BLOCK(area, block);
        size_t full = sp + {PORTION};
        for (size_t i = first_word;; i++) {{
            if (i % WORDS_PER_BLOCK == 0 && i != 0 && ATB_GET_KIND(area, block + i / WORDS_PER_BLOCK) != AT_TAIL) {{
                break;
            }}
            void *ptr = ptrs[i];
""",
    ),
    (
        """            if (sp < MICROPY_ALLOC_GC_STACK_SIZE) {
                MP_STATE_MEM(gc_block_stack)[sp] = ptr_block;
                #if MICROPY_GC_SPLIT_HEAP
                MP_STATE_MEM(gc_area_stack)[sp] = ptr_area;
                #endif
                sp += 1;
            } else {
                MP_STATE_MEM(gc_stack_overflow) = 1;
            }
        }
""",
        f"""            if (sp < MICROPY_ALLOC_GC_STACK_SIZE) {{
                MP_STATE_MEM(gc_block_stack)[sp] = ptr_block;
                sp += 1;
                if (sp == full && sp < MICROPY_ALLOC_GC_STACK_SIZE) {{
                    size_t first = sp - {PORTION};
                    MP_STATE_MEM(gc_block_stack)[sp] = MP_STATE_MEM(gc_block_stack)[first];
                    MP_STATE_MEM(gc_block_stack)[first] = (uint64_t)(i + 1) << 32 | block;
                    sp += 1;
                    break;
                }}
            }} else {{
                MP_STATE_MEM(gc_stack_overflow) = 1;
            }}
        }}
""",
    ),
    (
        """        block = MP_STATE_MEM(gc_block_stack)[sp];
        #if MICROPY_GC_SPLIT_HEAP
        area = MP_STATE_MEM(gc_area_stack)[sp];
        #endif
""",
        """        block = (uint32_t)MP_STATE_MEM(gc_block_stack)[sp];
        first_word = MP_STATE_MEM(gc_block_stack)[sp] >> 32;
""",
    ),
]

# Sweeping: runs of 32 free blocks, and of 32 blocks inside one large allocation, at once. And how many blocks stay,
# which tells mirage_main.c when to collect next.
SWEEPING: Changes = [
    (
        "static void gc_sweep_free_blocks(void) {\n",
        "size_t mirage_gc_used_blocks;\n\nstatic void gc_sweep_free_blocks(void) {\n",
    ),
    (
        """    int free_tail = 0;
    #if MICROPY_GC_SPLIT_HEAP_AUTO
""",
        """    int free_tail = 0;
    mirage_gc_used_blocks = 0;
    #if MICROPY_GC_SPLIT_HEAP_AUTO
""",
    ),
    (
        """        for (size_t block = 0; block <= area->gc_last_used_block; block++) {
            MICROPY_GC_HOOK_LOOP(block);
""",
        """        for (size_t block = 0; block <= area->gc_last_used_block; block++) {
            if (block % 32 == 0 && block + 32 <= area->gc_last_used_block) {
                uint64_t *kinds = (uint64_t *)(area->gc_alloc_table_start + block / BLOCKS_PER_ATB);
                if (*kinds == 0) {
                    block += 31;
                    continue;
                }
                if (*kinds == AT_TAIL * UINT64_C(0x5555555555555555)) {
                    block += 31;
                    if (free_tail) {
                        *kinds = 0;
                    } else {
                        mirage_gc_used_blocks += 32;
                        last_used_block = block;
                    }
                    continue;
                }
            }
""",
    ),
    (
        """                    } else {
                        last_used_block = block;
                    }
""",
        """                    } else {
                        mirage_gc_used_blocks++;
                        last_used_block = block;
                    }
""",
    ),
    (
        """                    free_tail = 0;
                    last_used_block = block;
""",
        """                    free_tail = 0;
                    mirage_gc_used_blocks++;
                    last_used_block = block;
""",
    ),
]

# Strings hash when they are made, three instructions per octet. A hash of zero means "not computed yet" everywhere it
# is read, so long ones (payloads) can be left until somebody uses one as a key.
STRINGS: Changes = [
    (
        "        o->hash = qstr_compute_hash(data, len);\n",
        "        o->hash = len > 64 ? 0 : qstr_compute_hash(data, len);\n",
    ),
    (
        "    o->hash = qstr_compute_hash(data, vstr->len);\n",
        "    o->hash = vstr->len > 64 ? 0 : qstr_compute_hash(data, vstr->len);\n",
    ),
]

CHANGES: dict[str, Changes] = {"py/gc.c": ALLOCATOR + MARKING + SWEEPING, "py/objstr.c": STRINGS}


def main() -> int:
    name, original, copy = sys.argv[1:]
    text = Path(original).read_text(encoding="utf-8")
    for old, new in CHANGES[name]:
        if text.count(old) != 1:
            print(f"{sys.argv[0]}: {original} is not MicroPython 1.25.0's: expected once:\n{old}", file=sys.stderr)
            return 1
        text = text.replace(old, new)
    # Messages and debug information go on naming the original.
    Path(copy).write_text(f'#line 1 "{original}"\n{text}', encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
