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

# The collector. The stock allocator moves its search position forward for allocations of one block only, so every larger one
# searches again from there: quadratic on a large heap. Here all sizes are next-fit, and memory that is freed explicitly
# attracts the position only from nearby (a free of something old would otherwise restart the search at the bottom).
NEAR_ATB_BYTES = 64  # 256 blocks, 8 KiB

GC: Changes = [
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
    # Where no collection is allowed, or one has just been made, what lies below the position is searched before giving up.
    (
        """            if (!added && gc_try_add_heap(n_bytes)) {
                added = true;
                continue;
            }
            #endif
            return NULL;
""",
        """            if (!added && gc_try_add_heap(n_bytes)) {
                added = true;
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
    # A run of many blocks: whole bytes of the allocation table at a time.
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
        memset(&area->gc_alloc_table_start[bl / BLOCKS_PER_ATB], AT_TAIL * 0x55, table_bytes);
        bl += table_bytes * BLOCKS_PER_ATB;
    }
    for (; bl <= end_block; bl++) {
        ATB_FREE_TO_TAIL(area, bl);
    }
""",
    ),
    # With MICROPY_GC_CONSERVATIVE_CLEAR off, nothing but the last block's rest is zeroed, and with it on, everything is, which
    # costs as much as filling it. In between: objects are zeroed whole, so that no stale pointer keeps garbage alive;
    # large allocations are buffers of octets, and tables that their owner clears.
    (
        "    memset((byte *)ret_ptr + n_bytes, 0, (end_block - start_block + 1) * BYTES_PER_BLOCK - n_bytes);\n",
        """    size_t kept = n_bytes >= 1024 ? n_bytes : 0;
    memset((byte *)ret_ptr + kept, 0, (end_block - start_block + 1) * BYTES_PER_BLOCK - kept);
""",
    ),
]

# Strings hash when they are made, three instructions per octet. A hash of zero means "not computed yet" everywhere it is
# read, so long ones (payloads) can be left until somebody uses one as a key.
STRINGS: Changes = [
    ("        o->hash = qstr_compute_hash(data, len);\n", "        o->hash = len > 64 ? 0 : qstr_compute_hash(data, len);\n"),
    (
        "    o->hash = qstr_compute_hash(data, vstr->len);\n",
        "    o->hash = vstr->len > 64 ? 0 : qstr_compute_hash(data, vstr->len);\n",
    ),
]

CHANGES: dict[str, Changes] = {"py/gc.c": GC, "py/objstr.c": STRINGS}


def main() -> int:
    name, original, copy = sys.argv[1:]
    text = Path(original).read_text(encoding="utf-8")
    for old, new in CHANGES[name]:
        if text.count(old) != 1:
            print(f"patch_micropython.py: {original} is not MicroPython 1.25.0's: expected exactly once:\n{old}", file=sys.stderr)
            return 1
        text = text.replace(old, new)
    # Messages and debug information go on naming the original.
    Path(copy).write_text(f'#line 1 "{original}"\n{text}', encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
