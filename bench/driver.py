# SPDX-License-Identifier: MIT
"""The ixgbe driver by itself, on the interpreter that images have: what forwarding a packet costs (bench/programs)."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.context import Context
from bench.machine import GuestError
from bench.row import Row, give_up

PROGRAM = "driver_forward"
BATCHES = (32, 256)
TIMEOUT_S = 300
ROUNDS = 5
COUNTED = (100, 300)  # batches of a run under valgrind: what one run has more than the other is what batches cost
MUST_CYCLES = 4000
WANTED_CYCLES = 580  # "within sight" of OCaml's 290: twice that


def run(command: list[str]) -> str:
    """What a program printed. Raises GuestError when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise GuestError(f"{command[0]} is not installed; sudo apt install {command[0]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GuestError(f"{command[0]}: {error}") from None
    if done.returncode != 0 or "Traceback" in done.stdout:
        raise GuestError(f"{Path(command[0]).name}: {(done.stdout + done.stderr).strip().splitlines()[-1:]}")
    return done.stdout + done.stderr


def batch_times(output: str, batches: int) -> list[float]:
    """The nanoseconds of each batch. Raises GuestError when it is not `batches` of them."""
    match = re.search(r"^batch_ns ([\d ]+)$", output, re.MULTILINE)
    times = [float(word) for word in match[1].split()] if match else []
    if len(times) != batches:
        raise GuestError(f"{PROGRAM} printed {len(times)} times for {batches} batches")
    return times


def tsc_hz(cpuinfo: str) -> float:
    """The rate of the time stamp counter, to turn nanoseconds into its cycles, as the kernel tells it."""
    match = re.search(r"^model name.*@ ([\d.]+)GHz", cpuinfo, re.MULTILINE)
    if match:
        return float(match[1]) * 1e9
    match = re.search(r"^cpu MHz\s*: ([\d.]+)", cpuinfo, re.MULTILINE)
    if match is None:
        raise GuestError("/proc/cpuinfo tells no frequency")
    return float(match[1]) * 1e6


def instructions(program: Path, batch: int, batches: int, what: str) -> int:
    """All instructions of a run, counted by valgrind."""
    with tempfile.TemporaryDirectory(prefix="mirage-bench-") as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        output = run([*command, str(program), str(batch), str(batches), what])
    return collected(output)


def collected(output: str) -> int:
    """The instructions that callgrind says it counted. Raises GuestError."""
    match = re.search(r"Collected : (\d+)", output)
    if match is None:
        raise GuestError("valgrind counted nothing")
    return int(match[1])


def per_packet(program: Path, batch: int) -> float:
    """The driver's own instructions per packet: those of the program, less those of the device's side."""
    few, many = COUNTED
    costs = {}
    for what in ("driver", "device"):
        more = instructions(program, batch, many, what) - instructions(program, batch, few, what)
        costs[what] = more / ((many - few) * batch)
    return costs["driver"] - costs["device"]


def forward(context: Context) -> Iterator[Row]:
    """64-byte frames from the receive to the transmit ring, in plain memory with a device that is done at once."""
    program = context.program(PROGRAM)
    rate = tsc_hz(Path("/proc/cpuinfo").read_text())
    for batch in BATCHES:
        context.progress(f"{PROGRAM}, batches of {batch}")
        cycles = Row(f"ixgbe driver, forwarding 64-byte frames by {batch}", "cycles/packet", MUST_CYCLES, WANTED_CYCLES)
        cycles.reference = "C 120, OCaml 290, ixy in Python 20,600"
        best = []
        for _ in range(ROUNDS):
            batches = context.effort.packets // batch
            times = batch_times(run([str(program), str(batch), str(batches), "driver"]), batches)
            cycles.ours.append(median(times) / batch * rate / 1e9)
            best.append(times[0] / batch * rate / 1e9)
            time.sleep(0.1)
        cycles.note = f"median batch; the best one {min(best):,.0f}"
        yield cycles
        counted = Row(f"ixgbe driver, forwarding 64-byte frames by {batch}", "instructions/packet")
        counted.tracked = f"driver forward by {batch}, instructions per packet"
        try:
            counted.ours = [per_packet(program, batch)]
        except GuestError as error:
            give_up([counted], "callgrind", error)
        yield counted
