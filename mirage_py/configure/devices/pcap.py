# SPDX-License-Identifier: MIT
"""Recording what passes a network card, from inside the image."""

from mirage_py.configure.device import Choice, Device, Kind, Node
from mirage_py.configure.devices.clock import clock
from mirage_py.configure.devices.network import default_network
from mirage_py.configure.devices.signatures import CLOCK, NETWORK, STACK
from mirage_py.configure.devices.stack import configured_stack, stack_by_net
from mirage_py.configure.keys import Key

PCAP = Kind(
    name="pcap",
    offers=NETWORK,
    implementation="libos.net.link.recorder.Recorder",
    doc="a network device that remembers what passes",
    arguments={"below": NETWORK, "clock": CLOCK},
    keys={"size_kib": Key("pcap-kib", type="int", default=256, doc="how much of what passed is kept, in KiB")},
    features=("net",),
)

RECORDED_STACK = Kind(
    name="recorded_stack",
    local="stack",
    offers=STACK,
    implementation="libos.app.recording.RecordedStack",
    doc="a stack, and what passes its card as a pcap stream on a TCP port",
    arguments={"stack": STACK, "recorder": NETWORK},
    keys={"port": Key("pcap-port", type="tcp_port", doc="record, and serve the recording on this TCP port")},
    features=("net",),
)


def pcap(network: Node, *, group: str = "") -> Device:
    """A network device that remembers what passes `network`; its runtime key is --pcap-kib."""
    return PCAP(network, clock(), group=group)


def recorded_stack(network: Node | None = None, *, group: str = "") -> Choice:
    """generic_stack() whose card is recorded from when --pcap-port is given; the system's sockets are not recorded."""

    def direct() -> Device:
        recorder = pcap(network or default_network(group), group=group)
        return RECORDED_STACK(configured_stack(recorder, group=group), recorder, group=group)

    return stack_by_net(direct, group)
