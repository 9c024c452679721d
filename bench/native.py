# SPDX-License-Identifier: MIT
"""The unix builds: our stack over a TAP beside the system's sockets, in a network namespace of this process's own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.context import Context
from bench.machine import LISTENING, TAPS, GuestError, cpu_seconds, run_client
from bench.row import Row, give_up

START_TIMEOUT_S = 30.0
PAYLOAD_BYTES = 64
BLOCK_BYTES = 65536
DISCARD, GENERATE = 9, 19
PLACES = {
    "direct": (TAPS[0].guest, ["--interface", TAPS[0].name, "--ipv4", f"{TAPS[0].guest}/24"]),
    "socket": ("127.0.0.1", []),
}


@dataclass
class Server:
    """A running build. cpu_s: what it has used."""

    host: str
    process: subprocess.Popen[bytes]

    @property
    def cpu_s(self) -> float:
        return cpu_seconds(self.process.pid)


@contextmanager
def serving(binary: Path, net: str) -> Iterator[Server]:
    """The server, once it says that it listens."""
    host, arguments = PLACES[net]
    process = subprocess.Popen(
        [str(binary), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        said, deadline = b"", time.monotonic() + START_TIMEOUT_S
        while LISTENING not in said:
            said += process.stdout.read() or b""
            if process.poll() is not None or time.monotonic() > deadline:
                raise GuestError(f"{binary} does not listen: {said.decode(errors='replace').strip()[-200:]}")
            time.sleep(0.01)
        yield Server(host, process)
    finally:
        process.kill()
        process.wait(START_TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()


def echo(context: Context) -> Iterator[Row]:
    """Echoes and bulk through both builds, alternating."""
    effort = context.effort
    echoes = Row("unix direct over TAP, 64-byte echoes", "/s", 0.3, 0.6, is_floor=True)
    bulk = Row("unix direct over TAP, echoed", "MB/s", 0.5, 1.0, is_floor=True)
    cpu_echo = Row("  server's own CPU per echo", "us", scale=1e6)
    cpu_bulk = Row("  server's own CPU per MB", "ms", scale=1e3)
    rows = (echoes, bulk, cpu_echo, cpu_bulk)
    for row in rows:
        row.beside = "unix socket build, on loopback"
    echoes.reference, bulk.reference = "lwIP (C) over TAP 107,000", "lwIP (C) over TAP 140"
    blocks = effort.native_megabytes * 1_000_000 // BLOCK_BYTES
    for turn in range(effort.native_rounds):
        try:
            for net in PLACES:
                context.progress(f"round {turn + 1} of {effort.native_rounds}: unix {net}")
                for row, sample in zip(rows, _echo_round(context, net, blocks), strict=True):
                    (row.ours if net == "direct" else row.theirs).append(sample)
        except GuestError as error:
            give_up(rows, f"round {turn + 1}", error)
            break
    yield echoes
    yield cpu_echo
    yield bulk
    yield cpu_bulk


def _echo_round(context: Context, net: str, blocks: int) -> tuple[float, float, float, float]:
    """Echoes/s, MB/s, and the server's processor time per echo and per MB."""
    count, size, megabytes = context.effort.native_echoes, str(PAYLOAD_BYTES), blocks * BLOCK_BYTES / 1e6
    with serving(context.image(net), net) as server:
        run_client(context.client, server.host, 7, "echoes", str(count // 10), size)
        before_s = server.cpu_s
        took_s = run_client(context.client, server.host, 7, "echoes", str(count), size)
        between_s = server.cpu_s
        bulk_s = run_client(context.client, server.host, 7, "bulk", str(blocks), str(BLOCK_BYTES))
        after_s = server.cpu_s
    return count / took_s, megabytes / bulk_s, (between_s - before_s) / count, (after_s - between_s) / megabytes


def one_way(context: Context) -> Iterator[Row]:
    """To a sink in the build with our stack, and from a source in it; every octet is compared."""
    effort = context.effort
    blocks = effort.one_way_megabytes * 1_000_000 // BLOCK_BYTES
    megabytes = blocks * BLOCK_BYTES / 1e6
    to_sink = Row("unix direct over TAP, one way to a sink", "MB/s", 200, 1000, is_floor=True)
    from_source = Row("unix direct over TAP, one way from a source", "MB/s", 200, 1000, is_floor=True)
    for row, what, port in ((to_sink, "send", DISCARD), (from_source, "receive", GENERATE)):
        cpu_s = []
        try:
            for _ in range(effort.native_rounds):
                context.progress(row.title)
                with serving(context.image("services-direct"), "direct") as server:
                    run_client(context.client, server.host, port, what, "100", str(BLOCK_BYTES))
                    before_s = server.cpu_s
                    took_s = run_client(context.client, server.host, port, what, str(blocks), str(BLOCK_BYTES))
                    cpu_s.append((server.cpu_s - before_s) / megabytes)
                row.ours.append(megabytes / took_s)
            row.note = f"server's own CPU {median(cpu_s) * 1e3:.2f} ms per MB"
        except GuestError as error:
            give_up([row], what, error)
        yield row
