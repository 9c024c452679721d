# SPDX-License-Identifier: MIT
"""What `_mirage` does with buffers, printed: the C module and the fake have to print the same."""

import gc

import _mirage


class Noise:
    """The same pseudo-random octets on both sides."""

    def __init__(self, seed):
        self.state = seed

    def octet(self):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return self.state >> 16 & 0xFF

    def octets(self, count):
        return bytes([self.octet() for _ in range(count)])


def reference(data, initial):
    """RFC 1071, word by word."""
    total = initial
    for index in range(0, len(data) - 1, 2):
        total += data[index] << 8 | data[index + 1]
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def attempt(label, function, *args):
    try:
        result = function(*args)
    except (ValueError, TypeError, OSError) as error:
        result = type(error).__name__
    print(label, result)


def checksums():
    noise = Noise(1)
    data = noise.octets(3000)
    wrong = 0
    for length in list(range(130)) + [1460, 2999]:
        for start in range(10):
            if start + length <= len(data):
                for initial in (0, 1, 0xFFFF, 0x12345):
                    expected = reference(data[start : start + length], initial)
                    if _mirage.checksum(data, start, length, initial) != expected:
                        wrong += 1
    ones = bytearray(b"\xff" * 4099)
    for length in (0, 1, 2, 3, 4, 31, 32, 33, 4096, 4099):
        if _mirage.checksum(ones, 0, length, 0) != reference(ones[:length], 0):
            wrong += 1
    print("checksums wrong", wrong)
    print("of nothing", _mirage.checksum(b"", 0, 0, 0), _mirage.checksum(b"", 0, 0, 0xFFFF))
    print("of a view", _mirage.checksum(memoryview(data)[7:], 1, 100, 0) == reference(data[8:108], 0))


def bounds():
    data = bytearray(b"0123456789")
    view = memoryview(data)[2:8]
    large = 1 << 40
    for start, length in ((0, 6), (6, 0), (0, 7), (6, 1), (7, 0), (-1, 1), (1, -1), (3, 4), (-1, -1), (large, large)):
        where = f"{start}+{length}"
        attempt("checksum " + where, _mirage.checksum, view, start, length, 0)
        attempt("take " + where, _mirage.take, view, start, length)
        attempt("copy to " + where, _mirage.copy, view, start, bytes(64), 0, length)
        attempt("copy from " + where, _mirage.copy, bytearray(64), 0, view, start, length)
        attempt("view " + where, lambda s, n: len(_mirage.view(view, s, n, "B")), start, length)
    print("untouched", bytes(data[:2]), bytes(data[8:]))
    attempt("copy into bytes", _mirage.copy, b"abc", 0, b"xyz", 0, 3)
    attempt("checksum of None", _mirage.checksum, None, 0, 0, 0)
    attempt("take of int", _mirage.take, 5, 0, 0)
    attempt("copy too few", lambda: _mirage.copy(data, 0, data))


def copies():
    noise = Noise(2)
    original = noise.octets(600)
    wrong = 0
    for _ in range(300):
        dst, src, length = noise.octet(), noise.octet(), noise.octet()
        expected = bytearray(original)
        expected[dst : dst + length] = original[src : src + length]
        data = bytearray(original)
        _mirage.copy(data, dst, data, src, length)
        if data != expected:
            wrong += 1
    print("copies wrong", wrong)
    print("returns", _mirage.copy(bytearray(4), 0, b"1234", 0, 4))


def takes():
    data = bytearray(b"0123456789")
    taken = _mirage.take(memoryview(data)[1:], 1, 3)
    data[2] = 0
    print("taken", taken, type(taken) is bytes, hash(taken) == hash(b"234"), {b"234": 1}.get(taken))
    long = _mirage.take(bytes(5000), 1, 4000)
    print("long", len(long), long == bytes(4000), {bytes(4000): "found"}.get(long), long + b"x" == bytes(4000) + b"x")
    print("of text", _mirage.take(memoryview(b"text"), 0, 4), _mirage.take(b"", 0, 0))


def views():
    region, _ = _mirage.dma_region()
    data = _mirage.view(region, 64, 64, "B")
    for index in range(64):
        data[index] = index
    for code in "BHIQ":
        view = _mirage.view(data, 8, 16, code)
        print("view", code, len(view), view.itemsize, view[0], view[len(view) - 1])
        view[1] = 0x11
        print("through", list(data[8:32]))
    words = _mirage.view(data, 0, 64, "I")
    print("view of view", _mirage.view(words, 8, 8, "Q")[0], len(words[1:3]), words[1:3][0])
    print("octets of a view", _mirage.take(words, 1, 5), _mirage.checksum(words, 2, 6, 0))
    for code, start, length in (("H", 1, 2), ("I", 2, 4), ("Q", 4, 8), ("H", 0, 3), ("I", 0, 6), ("Q", 0, 4)):
        attempt(f"alignment {code} {start}+{length}", _mirage.view, data, start, length, code)
    for code in ("b", "L", "", "BB", "x"):
        attempt("typecode " + code, _mirage.view, data, 0, 8, code)
    attempt("view past the end", _mirage.view, data, 60, 8, "I")
    attempt("item past the end", lambda: "no" if len(words) == 16 else "yes")
    # A view keeps its memory alive, however it was made.
    kept = [_mirage.view(memoryview(bytearray(bytes([n]) * 256)), 128, 64, "H")[8:16] for n in range(50)]
    gc.collect()
    filler = [bytearray(b"\xee" * 256) for _ in range(200)]
    print("kept", sum(1 for n in range(50) if list(kept[n]) == [n * 257] * 8), len(filler))


def rest():
    _mirage.fence()
    before = _mirage.monotonic_ns()
    ms = _mirage.now_ms()
    print("clocks", before // 1000000 <= ms, _mirage.monotonic_ns() >= before, _mirage.wall_ns() > 1600000000 * 10**9)
    print("wait", _mirage.wait(0), _mirage.wait(_mirage.monotonic_ns() + 2000000))
    print("waited", _mirage.monotonic_ns() - before >= 2000000)
    octets = bytearray(32)
    _mirage.entropy(octets)
    attempt("entropy into bytes", _mirage.entropy, b"1234")
    print("memory", [size > 0 for size in _mirage.memory()], octets != bytes(32))


checksums()
bounds()
copies()
takes()
views()
rest()
