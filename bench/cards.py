# SPDX-License-Identifier: MIT
"""Echo over the emulated 82599 beside echo over virtio-net, in the same QEMU, with the processor time of each part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from bench.context import Context
from bench.images import BLOCK_BYTES, our_guest
from bench.machine import GuestError, Machine, Setup, Spent
from bench.row import Row, give_up
from mirage_py.run import machine as machines
from mirage_py.support.errors import UserError

CARDS = {"ixgbe": "ixgbe", "virtio": "hvt"}  # and the build for each
TURNS = 3  # of bulk within one boot: the network, not the start, is measured


def newer_qemu() -> str:
    """A QEMU that knows vfio-user. Raises GuestError."""
    try:
        return machines.qemu_for_model(None)
    except UserError as error:
        raise GuestError(str(error)) from None


def shares(spent: list[Spent], per: float, unit: str) -> str:
    """Where the processor time went, per `per`, for a note."""
    scale = 1e6 if unit == "us" else 1e3
    guest = median(one.guest for one in spent) / per * scale
    rest = median(one.qemu - one.guest for one in spent) / per * scale
    model = median(one.model for one in spent) / per * scale
    return f"guest {guest:,.1f}, rest of QEMU {rest:,.1f}, model {model:,.1f} {unit}"


def echo(context: Context) -> Iterator[Row]:
    """Both cards, alternating."""
    effort, qemu = context.effort, newer_qemu()
    blocks = effort.megabytes * 1_000_000 // BLOCK_BYTES
    megabytes = blocks * BLOCK_BYTES / 1e6
    echoes = Row("echo over ixgbe (model), user-mode network, 64 bytes", "/s", is_floor=True, beside="virtio-net")
    bulk = Row("echo over ixgbe (model), user-mode network", "MB/s", 0.5, is_floor=True, beside="virtio-net")
    spent: defaultdict[tuple[str, str], list[Spent]] = defaultdict(list)
    for turn in range(effort.rounds):
        try:
            for card, build in CARDS.items():
                context.progress(f"round {turn + 1} of {effort.rounds}: {card}")
                with Machine.boot(our_guest(context.image(build)), setup=Setup(card=card, qemu=qemu)) as machine:
                    machine.spent(context.client, "echoes", "300", "64")
                    one = machine.spent(context.client, "echoes", str(effort.echoes), "64")
                    (echoes.ours if card == "ixgbe" else echoes.theirs).append(effort.echoes / one.wall)
                    spent[card, "echo"].append(one)
                    machine.spent(context.client, "bulk", "16", str(BLOCK_BYTES))
                    for _ in range(TURNS):
                        one = machine.spent(context.client, "bulk", str(blocks), str(BLOCK_BYTES))
                        (bulk.ours if card == "ixgbe" else bulk.theirs).append(megabytes / one.wall)
                        spent[card, "bulk"].append(one)
        except GuestError as error:
            give_up((echoes, bulk), f"round {turn + 1}", error)
            break
    for row, what, per, unit in ((echoes, "echo", effort.echoes, "us"), (bulk, "bulk", megabytes, "ms")):
        row.note = (
            "CPU per "
            + ("echo" if what == "echo" else "MB")
            + "".join(f"; {card}: {shares(spent[card, what], per, unit)}" for card in CARDS)
        )
        yield row
