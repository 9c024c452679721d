# SPDX-License-Identifier: MIT
"""The C module's functions over memory, for drivers."""

import _mirage

view = _mirage.view  # view(memory, start, len_bytes, typecode): the same memory as words of 'B', 'H', 'I' or 'Q'
fence = _mirage.fence  # all loads and stores before it happen before those after it
now_ms = _mirage.now_ms
wait = _mirage.pause
