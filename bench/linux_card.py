# SPDX-License-Identifier: MIT
"""The emulated 82599 with Linux's own driver: iperf3 both ways over a TAP, in this process's network namespace."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.context import Context
from bench.machine import TAPS, GuestError, cpu_seconds
from bench.row import Row, give_up
from tests.conftest import Guest
from tests.nic.linux_guest import LinuxGuest, packages

MEGA = 1e6
RETRIES = 5


def bits_per_second(report: str) -> float:
    """What arrived, out of what `iperf3 -J` printed. Raises GuestError when it reports an error."""
    try:
        document = json.loads(report[report.index("{") : report.rindex("}") + 1])
    except ValueError:
        raise GuestError(f"iperf3 printed no report: {report.strip()[-200:]!r}") from None
    if "error" in document:
        raise GuestError(f"iperf3: {document['error']}")
    return float(document["end"]["sum_received"]["bits_per_second"])


def iperf(context: Context) -> Iterator[Row]:
    """Into the guest and out of it, alternating."""
    root = packages()
    libraries = f"{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu"
    loader = f"{root}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    into = Row("model with Linux's ixgbe driver, iperf3 into the guest", "Mbit/s", is_floor=True, scale=1 / MEGA)
    out = Row("model with Linux's ixgbe driver, iperf3 out of the guest", "Mbit/s", is_floor=True, scale=1 / MEGA)
    into.reference, out.reference = "prototype 607", "prototype 57"
    running: list[Guest] = []

    def spawn(argv: Sequence[str]) -> Guest:
        running.append(Guest([str(word) for word in argv]))
        return running[-1]

    try:
        with tempfile.TemporaryDirectory(prefix="mirage-bench-") as folder:
            spawn([loader, "--library-path", libraries, f"{root}/usr/bin/iperf3", "-s", "-B", TAPS[0].host])
            context.progress("booting Linux on the model")
            guest = LinuxGuest(spawn, Path(folder), [f"tap:{TAPS[0].name}"])
            guest.check(f"ip link set eth0 up && ip addr add {TAPS[0].guest}/24 dev eth0")
            guest.check("for i in $(seq 50); do [ $(cat /sys/class/net/eth0/carrier) = 1 ] && break; sleep 0.2; done")
            model_s = {"": 0.0, "-R": 0.0}
            octets = {"": 0.0, "-R": 0.0}
            for turn in range(context.effort.rounds):
                for row, way in ((into, "-R"), (out, "")):
                    if row.failed:
                        continue
                    context.progress(f"round {turn + 1} of {context.effort.rounds}: iperf3 {way}")
                    before_s = cpu_seconds(guest.model.process.pid)
                    try:
                        rate = _measure(guest, way, context.effort.iperf_s)
                    except GuestError as error:
                        give_up([row], f"round {turn + 1}", error)
                        continue
                    model_s[way] += cpu_seconds(guest.model.process.pid) - before_s
                    octets[way] += rate * context.effort.iperf_s / 8
                    row.ours.append(rate)
            for row, way in ((into, "-R"), (out, "")):
                if octets[way] and not row.failed:
                    row.note = f"model's CPU {model_s[way] * 1e3 / (octets[way] / MEGA):.1f} ms per MB"
                yield row
    except AssertionError as error:
        # LinuxGuest is the tests'; it fails as they do.
        raise GuestError(str(error).strip().splitlines()[0]) from None
    finally:
        for one in running:
            one.kill()


def _measure(guest: LinuxGuest, way: str, seconds: int) -> float:
    failed = None
    for _ in range(RETRIES):
        # The server refuses while it still serves the last one.
        _, text = guest.run(f"iperf3 -c {TAPS[0].host} -t {seconds} -J {way}; sleep 1", 60 + seconds)
        try:
            return bits_per_second(text)
        except GuestError as error:
            failed = error
    raise failed or GuestError("iperf3 did not run")
