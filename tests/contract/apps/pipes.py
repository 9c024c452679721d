# SPDX-License-Identifier: MIT
"""Descriptors and wait(): the test gives the two ends of a pipe, and the writing end of a broken one."""

import _mirage
import micropython

read_fd, write_fd, broken_fd = [int(word) for word in _mirage.args()[1:4]]
buf = bytearray(100000)


def soon():
    return _mirage.monotonic_ns() + 20000000


source = _mirage.fd_watch(read_fd, 1)
print("source", 1 <= source <= 31)
print("nothing", _mirage.wait(soon()), _mirage.fd_read(read_fd, buf, 0, 10))
print("written", _mirage.fd_write(write_fd, b"..hello", 2, 5))
print("level", _mirage.wait(-1) == 1 << source, _mirage.wait(0) == 1 << source)
print("read", _mirage.fd_read(read_fd, buf, 1, 3), bytes(buf[:5]))
print("rest", _mirage.wait(-1) == 1 << source, _mirage.fd_read(read_fd, buf, 0, 100), bytes(buf[:3]))
print("drained", _mirage.wait(soon()))
print("again", _mirage.fd_watch(read_fd, 1) == source, _mirage.fd_watch(read_fd, 0) == source)
_mirage.fd_write(write_fd, b"x", 0, 1)
print("not watched", _mirage.wait(soon()), _mirage.fd_read(read_fd, buf, 0, 9))

total = 0
while True:
    n = _mirage.fd_write(write_fd, buf, 0, 100000)
    if n < 0:
        break
    total += n
print("full", total > 0)
writable = _mirage.fd_watch(write_fd, 2)
print("not writable", _mirage.wait(soon()))
while _mirage.fd_read(read_fd, buf, 0, 100000) > 0:
    pass
print("writable", _mirage.wait(-1) == 1 << writable)
_mirage.fd_close(write_fd)
print("end", _mirage.fd_read(read_fd, buf, 0, 10))
_mirage.fd_close(read_fd)

for name, call in (
    ("broken", lambda: _mirage.fd_write(broken_fd, b"x", 0, 1)),
    ("closed", lambda: _mirage.fd_read(read_fd, buf, 0, 1)),
    ("closed watch", lambda: _mirage.fd_watch(read_fd, 1)),
    ("closed twice", lambda: _mirage.fd_close(read_fd)),
    ("bounds", lambda: _mirage.fd_read(read_fd, buf, 99999, 2)),
):
    try:
        print(name, call())
    except OSError as error:
        print(name, "OSError", error.errno)
    except ValueError:
        print(name, "ValueError")

# What runs for every packet must not feed the collector.
region, _ = _mirage.dma_region()
micropython.heap_lock()
_mirage.wait(0)
_mirage.now_ms()
_mirage.monotonic_ns()
_mirage.checksum(region, 0, 1500, 0)
_mirage.copy(region, 0, region, 100, 1500)
_mirage.fence()
micropython.heap_unlock()
print("no allocation")
