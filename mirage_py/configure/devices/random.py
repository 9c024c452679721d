# SPDX-License-Identifier: MIT
"""Random numbers, and where they come from: `--entropy`."""

from mirage_py.configure.device import HVT, UNIX, Choice, Device, Kind, Node, optional
from mirage_py.configure.devices.dma import dma
from mirage_py.configure.devices.pci import pci_bus
from mirage_py.configure.devices.signatures import DMA, ENTROPY, PCI_BUS
from mirage_py.configure.devices.signatures import RANDOM as OFFERS
from mirage_py.configure.keys import CONFIGURE, Key

ENTROPY_KEY = Key(
    "entropy",
    type="choice",
    choices=("cpu", "virtio"),
    doc="where random numbers come from: the processor (or Linux); or also virtio-rng (default: virtio on hvt)",
    stage=CONFIGURE,
)

VIRTIO_RNG = Kind(
    name="virtio_rng",
    local="rng",
    offers=ENTROPY,
    implementation="libos.driver.virtio_rng.VirtioRng",
    doc="a virtio source of random numbers, for a processor without RDRAND",
    arguments={"bus": PCI_BUS, "dma": DMA},
    features=("net",),
    targets=(HVT,),
    target_reason="drives a PCI device, and a Linux process has none",
    is_small=True,
)

RANDOM = Kind(
    name="random",
    offers=OFFERS,
    implementation="libos.hal.random.Random",
    doc="unpredictable numbers from the processor or Linux, or from a device where that has none",
    arguments={"source": optional(ENTROPY)},
)


def virtio_rng() -> Device:
    """The machine's virtio-rng; only looked for when it is asked."""
    return VIRTIO_RNG(pci_bus(), dma())


def random_of(source: Node | None = None) -> Device:
    """Random numbers fit for keys; `source` has them where the processor has none."""
    return RANDOM(source)


def random() -> Choice:
    """Random numbers fit for keys: bytes(n), below(n), u32(). On hvt from virtio-rng where the processor has none."""
    return Choice(
        ENTROPY_KEY,
        {"cpu": random_of, "virtio": lambda: random_of(virtio_rng())},
        OFFERS,
        defaults={UNIX: "cpu", HVT: "virtio"},
    )
