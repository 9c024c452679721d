# SPDX-License-Identifier: MIT
"""For how long what strangers reach first is fuzzed: a minute each in make test, which sets the first variable.

make check sets the second one to half a second; without either it is long enough to see that a fuzzer works.
"""

from __future__ import annotations

import os

PROTOCOL_SECONDS = float(
    os.environ.get("MIRAGE_PY_FUZZ_PROTOCOL_SECONDS") or os.environ.get("MIRAGE_PY_FUZZ_SECONDS", "1.5")
)
