# SPDX-License-Identifier: MIT
"""The network as an application sees it: over our own stack, or over the system's sockets (`--net`)."""

from collections.abc import Callable

from mirage_py.configure.device import HVT, UNIX, Choice, Device, Kind, Node, optional
from mirage_py.configure.devices import sockets as sockets_kind
from mirage_py.configure.devices.log import log
from mirage_py.configure.devices.loop import event_loop
from mirage_py.configure.devices.netstack import addressed_netstack
from mirage_py.configure.devices.network import default_network
from mirage_py.configure.devices.signatures import ADDRESSING, LOG, LOOP, NETSTACK, SOCKETS
from mirage_py.configure.devices.signatures import STACK as OFFERS
from mirage_py.configure.keys import CONFIGURE, Key

STATS = Key(
    "stats",
    type="interval",
    doc="print the network's counters at the end, and with a duration such as 10s so often",
)

DIRECT_STACK = Kind(
    name="direct_stack",
    local="stack",
    offers=OFFERS,
    implementation="libos.app.stack.Stack",
    doc="TCP and UDP for the application, over our own stack",
    arguments={"netstack": NETSTACK, "loop": LOOP, "log": LOG, "addressing": optional(ADDRESSING)},
    keys={"stats": STATS},
    features=("net",),
)

SOCKET_STACK = Kind(
    name="socket_stack",
    local="stack",
    offers=OFFERS,
    implementation="libos.app.socket_stack.SocketStack",
    doc="TCP and UDP for the application, over the system's sockets",
    arguments={"sockets": SOCKETS, "loop": LOOP, "log": LOG},
    keys={"stats": STATS},
    features=("socket",),
    targets=(UNIX,),
    target_reason="uses the sockets of a Linux process, and there is no Linux in a virtual machine's image",
)

NET = Key(
    "net",
    type="choice",
    choices=("direct", "socket"),
    doc="our own stack, or the system's sockets (default: direct on hvt, socket on unix)",
    stage=CONFIGURE,
)


def direct_stack(netstack: Node, addressing: Node | None = None, *, group: str = "") -> Device:
    """TCP and UDP over our own stack. addressing: what gives it its address, where it has none of its own."""
    return DIRECT_STACK(netstack, event_loop(), log(), addressing, group=group)


def configured_stack(network: Node, *, group: str = "") -> Device:
    """TCP and UDP over our own stack on a network device, with its address by DHCP or from boot arguments."""
    return direct_stack(*addressed_netstack(network, group=group), group=group)


def socket_stack(sockets: Node | None = None, *, group: str = "") -> Device:
    """TCP and UDP over the system's sockets."""
    return SOCKET_STACK(sockets or sockets_kind.sockets(), event_loop(), log(), group=group)


def generic_stack(network: Node | None = None, *, group: str = "") -> Choice:
    """The stack that `--net` names: our own on `network` (default_network() unless given), or the system's sockets.

    group: prefix of its keys, for a second stack: "lan" gives --lan-net, --lan-ipv4 and so on. What --net says counts
    for all that are not told otherwise.
    """
    return stack_by_net(lambda: configured_stack(network or default_network(group), group=group), group)


def stack_by_net(direct: Callable[[], Node], group: str = "") -> Choice:
    """The choice that `--net` makes: what `direct` puts together, or the system's sockets."""
    return Choice(
        NET.grouped(group),
        {"direct": direct, "socket": lambda: socket_stack(group=group)},
        OFFERS,
        defaults={UNIX: "socket", HVT: "direct"},
        follows=NET,
    )
