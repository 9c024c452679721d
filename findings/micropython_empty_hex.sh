#!/bin/sh
# SPDX-License-Identifier: MIT
#
# MicroPython 1.25.0 (npm: @micropython/micropython-webassembly-pyscript 1.25.0, the project's own build for WebAssembly): hex() of no
# octets is bytes, and of any octets text. `b"".hex()` is b"", `b"a".hex()` is "61"; the same for bytearray and memoryview. CPython
# gives text in each case. So code that joins or prints what hex() gave works until the first empty value: an empty session id, an
# empty ticket, an empty payload; then it raises TypeError.
# (mirage-py's guests write `octets.hex() or ""` where there may be none.)
#
# Seen: "b'' '61' b'' TypeError"
#
# Needs: npm, node (18 of Debian 12 will do). Fails when that changes.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$work" @micropython/micropython-webassembly-pyscript@1.25.0 >/dev/null 2>&1 || {
    echo "error: the package cannot be had from npm" >&2
    exit 2
}
cat > ask.mjs <<'JAVASCRIPT'
import { loadMicroPython } from "@micropython/micropython-webassembly-pyscript/micropython.mjs";
const python = await loadMicroPython();
python.runPython(`
found = [repr(b"".hex()), repr(b"a".hex()), repr(bytearray().hex())]
try:
    "session " + b"".hex()
except TypeError as error:
    found.append(type(error).__name__)
print(*found)
`);
JAVASCRIPT
seen=$(timeout 60 node ask.mjs)
echo "$seen"
[ "$seen" = "b'' '61' b'' TypeError" ]
