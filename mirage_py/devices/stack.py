# SPDX-License-Identifier: MIT
"""The network as an application sees it: over our own stack, or over the system's sockets (`--net`)."""

from mirage_py.device import HVT, UNIX, Choice, Device, Kind, Node
from mirage_py.devices import sockets as sockets_kind
from mirage_py.devices.log import log
from mirage_py.devices.loop import event_loop
from mirage_py.devices.netstack import addressed_netstack
from mirage_py.devices.network import default_network
from mirage_py.devices.signatures import ADDRESSING, LOG, LOOP, NETSTACK, SOCKETS
from mirage_py.devices.signatures import STACK as OFFERS
from mirage_py.keys import CONFIGURE, Key

DIRECT_STACK = Kind(
    name="direct_stack",
    local="stack",
    offers=OFFERS,
    implementation="libos.app.stack.Stack",
    doc="TCP and UDP for the application, over our own stack",
    arguments={"netstack": NETSTACK, "loop": LOOP, "log": LOG, "addressing": ADDRESSING},
    features=("net",),
)

STATIC_STACK = Kind(
    name="direct_stack",
    local="stack",
    offers=OFFERS,
    implementation=DIRECT_STACK.implementation,
    doc="TCP and UDP for the application, over a stack of our own that has its address already",
    arguments={"netstack": NETSTACK, "loop": LOOP, "log": LOG},
    features=("net",),
)

SOCKET_STACK = Kind(
    name="socket_stack",
    local="stack",
    offers=OFFERS,
    implementation="libos.app.socket_stack.SocketStack",
    doc="TCP and UDP for the application, over the system's sockets",
    arguments={"sockets": SOCKETS, "loop": LOOP, "log": LOG},
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


def direct_stack(netstack: Node, addressing: Node | None = None) -> Device:
    """TCP and UDP over our own stack. addressing: what gives it its address, where it has none of its own."""
    if addressing is None:
        return STATIC_STACK(netstack, event_loop(), log())
    return DIRECT_STACK(netstack, event_loop(), log(), addressing)


def socket_stack(sockets: Node | None = None) -> Device:
    """TCP and UDP over the system's sockets."""
    return SOCKET_STACK(sockets or sockets_kind.sockets(), event_loop(), log())


def generic_stack(network: Node | None = None, *, group: str = "") -> Choice:
    """The stack that `--net` names: our own on `network` (default_network() unless given), or the system's sockets.

    group: prefix of its keys, for a second stack: "lan" gives --lan-net, --lan-ipv4 and so on.
    """
    return Choice(
        NET.grouped(group),
        {
            "direct": lambda: direct_stack(*addressed_netstack(network or default_network(group), group=group)),
            "socket": socket_stack,
        },
        OFFERS,
        defaults={UNIX: "socket", HVT: "direct"},
    )
