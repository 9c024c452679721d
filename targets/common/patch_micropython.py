#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a changed copy of one of MicroPython's C files.

usage: patch_micropython.py CHANGES ORIGINAL COPY

CHANGES is a text of blocks, each of whole lines: `<<<<`, the lines that are there, `====`, what they become, `>>>>`;
between blocks are empty lines, and comments that begin with `#`. The lines of every block must occur exactly once, else
nothing is written and the exit code is 1: a source that differs from the one these changes were measured on is noticed
when the runtime is built, not in a running guest.
"""

import sys
from collections.abc import Iterator
from pathlib import Path


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The pairs (what is there, what it becomes). Raises ValueError for a text of another form."""
    lines = iter(text.splitlines(keepends=True))

    def until(mark: str) -> str:
        taken = []
        for line in lines:
            if line == mark:
                return "".join(taken)
            taken.append(line)
        raise ValueError(f"no {mark!r} at the end")

    for line in lines:
        if line == "<<<<\n":
            yield until("====\n"), until(">>>>\n")
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"neither a block nor a comment: {line!r}")


def main() -> int:
    changes, original, copy = map(Path, sys.argv[1:])
    text = original.read_text(encoding="utf-8")
    for old, new in blocks(changes.read_text(encoding="utf-8")):
        if text.count(old) != 1:
            print(f"{changes.name}: {original} is not MicroPython 1.25.0's: expected once:\n{old}", file=sys.stderr)
            return 1
        text = text.replace(old, new)
    # mphalport.h declares what the changes use; messages and debug information go on naming the original.
    copy.write_text(f'#include "mphalport.h"\n#line 1 "{original}"\n{text}', encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
