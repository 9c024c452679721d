# SPDX-License-Identifier: MIT
"""The signatures: what a device promises to those built on it. What a method does, the guest's docstrings say."""

from mirage_py.configure.device import Signature

ADDRESSING = Signature("addressing", ("wait_until_up",))
APPLICATION = Signature("application", ("start",))
ARP = Signature("arp")
CLOCK = Signature("clock", ("now_ms", "monotonic_ns", "wall_ns", "sleep", "sleep_ms"))
CONGESTION = Signature("congestion", ("start",))
CONSOLE = Signature("console", ("write", "read", "readline"))
DHCP = Signature("dhcp", ("start", "stop"))
DMA = Signature("dma", ("region", "alloc"))
DNS = Signature("dns", ("resolve", "addresses", "connect"))
ENTROPY = Signature("entropy", ("fill",))
ETHERNET = Signature("ethernet")
FILES = Signature("files", ("lookup",))
HAPPY_EYEBALLS = Signature("happy eyeballs", ("connect",))
HTTP_CLIENT = Signature("http client", ("request", "get", "post", "close"))
ICMP = Signature("icmp")
ICMP6 = Signature("icmp6")
INFLATE = Signature("inflate", ("new",))
IPV4 = Signature("ipv4")
IPV6 = Signature("ipv6")
LOG = Signature("log", ("error", "warning", "info", "debug", "is_enabled"))
LOOP = Signature("loop", ("attach", "detach", "run"))
NDP = Signature("ndp")
NETSTACK = Signature("netstack", ("poll", "next_deadline_ms", "arm", "disarm"))
NETWORK = Signature(
    "network", ("rx_batch", "tx_batch", "alloc", "arm", "disarm", "join", "leave"), has_one_service=True
)
PCI_BUS = Signature("pci bus", ("find",))
PCI_DEVICE = Signature("pci device")
RANDOM = Signature("random", ("bytes", "u32", "below"))
RESOLVER = Signature("resolver", ("look_up",))
SOCKETS = Signature("sockets", ("poll", "next_deadline_ms", "arm", "disarm"))
STACK = Signature("stack", ("tcp", "udp", "listen"))
TCP = Signature("tcp", ("listen", "unlisten", "connect"))
UDP = Signature("udp")
