# SPDX-License-Identifier: MIT
"""Runs MicroPython's mpy-tool.py with changes, as a program of its own: `mpy_tool.py PATH/mpy-tool.py ARGUMENTS`.

The tool writes a float as C for each way in which a runtime may keep it, ours or not: one beyond single precision makes
it fail, and infinity (`1e999`) becomes the word inf, which C does not know. A passage that is not there exactly once is
an error: then the pinned source is another one.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

# What stands in mpy-tool.py, and what it becomes.
CHANGES = (
    (
        """(mp_float_t)%.16g};"
                % (obj_name, obj)""",
        """(mp_float_t)%s};"
                % (obj_name, c_float(obj))""",
    ),
    # For runtimes that keep floats in 30 bits, which none of ours does.
    ('struct.pack("<f", obj)', 'struct.pack("<f", 0.0)'),
)


def c_float(value: float) -> str:
    """A constant of C, for gcc, with the value of `value`."""
    if math.isinf(value):
        return "__builtin_inf()" if value > 0 else "-__builtin_inf()"
    return '__builtin_nan("")' if math.isnan(value) else repr(value)


def changed(source: str) -> str:
    """mpy-tool.py with CHANGES. Raises ValueError where one does not fit."""
    for passage, replacement in CHANGES:
        if source.count(passage) != 1:
            raise ValueError(f"mpy-tool.py has this not once but {source.count(passage)} times: {passage!r}")
        source = source.replace(passage, replacement)
    return source


def main() -> None:
    tool = Path(sys.argv[1])
    sys.argv[:] = sys.argv[1:]
    # As if it had been started itself: it finds what it imports beside itself.
    sys.path[0] = str(tool.parent)
    code = compile(changed(tool.read_text(encoding="utf-8")), str(tool), "exec")
    exec(code, {"__name__": "__main__", "__file__": str(tool), "c_float": c_float})


if __name__ == "__main__":
    main()
