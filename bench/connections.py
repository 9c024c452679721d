# SPDX-License-Identifier: MIT
"""Many open connections: what one costs in memory, and whether a segment costs more the more there are."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.context import Context
from bench.instructions import REPORT, counted
from bench.machine import GuestError, Machine
from bench.row import Row, give_up

MEMORY_MB = 256
HOLD_TIMEOUT_S = 420
ECHOES = 2000
# The most that an echo may cost with all of them, by what it costs with one. Deadlines are kept in a heap, and those of
# a connection that was quiet for a while are set anew: so there is a part that grows with the logarithm.
FLAT, NEARLY_FLAT = 1.3, 1.1


class Held:
    """A client with open connections, on which it echoes when told to."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._buffer = b""

    def line(self, timeout_s: float) -> str:
        """The next line that it prints. Raises GuestError."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise GuestError(f"the client says nothing for {timeout_s:.0f} s")
                data = os.read(self.process.stdout.fileno(), 4096)
                if not data:
                    assert self.process.stderr is not None
                    raise GuestError(self.process.stderr.read().decode(errors="replace").strip() or "the client ended")
                self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\n")
        return text.decode()

    def echo(self, count: int) -> float:
        """Echo `count` times, on one connection after the other; the seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"%d\n" % count)
        self.process.stdin.flush()
        return float(self.line(HOLD_TIMEOUT_S))


@contextmanager
def held(context: Context, machine: Machine, count: int) -> Iterator[Held]:
    """`count` open connections."""
    process = subprocess.Popen(
        [str(context.client), machine.host, str(machine.ports[7]), "hold", str(count), "64"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        client = Held(process)
        if client.line(HOLD_TIMEOUT_S) != "held":
            raise GuestError("the client does not hold its connections")
        yield client
    finally:
        process.kill()
        process.wait(30)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def measure(context: Context, number: int) -> tuple[float, float]:
    """With `number` connections open: octets of memory for each, and guest instructions per echo."""
    with counted(context, "services-hvt", memory_mb=MEMORY_MB) as (machine, counts):
        empty = machine.spent(context.client, "ask", "1", "1", port=REPORT).wall
        with held(context, machine, number) as client:
            used = machine.spent(context.client, "ask", "1", "1", port=REPORT).wall
            # Each of them once, so that it has been written to.
            client.echo(min(number, ECHOES))
            before = counts.instructions()
            client.echo(ECHOES)
            return (used - empty) / number, (counts.instructions() - before) / ECHOES


def open_connections(context: Context) -> Iterator[Row]:
    """Each number of connections in a guest of its own."""
    first, *others = context.effort.connections
    context.progress(f"{first:,} connection")
    _, alone = measure(context, first)
    for number in others:
        context.progress(f"{number:,} connections")
        memory = Row(f"guest memory per connection, {number:,} open", "octets")
        cost = Row(f"guest instructions per 64-byte echo, {number:,} connections open", "", FLAT, NEARLY_FLAT)
        memory.tracked = f"guest memory per connection, {number} open"
        cost.tracked = f"guest instructions per echo, {number} connections open"
        cost.beside, cost.theirs = "with one connection open", [alone]
        try:
            octets, instructions = measure(context, number)
            memory.ours, cost.ours = [octets], [instructions]
        except GuestError as error:
            give_up((memory, cost), f"{number:,} connections", error)
        yield memory
        yield cost
