# SPDX-License-Identifier: MIT
"""The signatures: what a device promises to those built on it. What a method does, the guest's docstrings say."""

from mirage_py.device import Signature

APPLICATION = Signature("application", ("start",))
ARP = Signature("arp")
CLOCK = Signature("clock", ("now_ms", "monotonic_ns", "wall_ns", "sleep", "sleep_ms"))
CONGESTION = Signature("congestion", ("start",))
CONSOLE = Signature("console", ("write", "read", "readline"))
DMA = Signature("dma", ("region", "alloc"))
ETHERNET = Signature("ethernet")
ICMP = Signature("icmp")
IPV4 = Signature("ipv4")
LOG = Signature("log", ("error", "warning", "info", "debug", "is_enabled"))
LOOP = Signature("loop", ("attach", "detach", "run"))
NETSTACK = Signature("netstack", ("poll", "next_deadline_ms", "arm", "disarm"))
NETWORK = Signature("network", ("rx_batch", "tx_batch", "alloc", "arm", "disarm"), has_one_service=True)
PCI_BUS = Signature("pci bus", ("find",))
PCI_DEVICE = Signature("pci device")
RANDOM = Signature("random", ("bytes", "u32", "below"))
SOCKETS = Signature("sockets", ("poll", "next_deadline_ms", "arm", "disarm"))
STACK = Signature("stack", ("tcp", "udp", "listen"))
TCP = Signature("tcp", ("listen", "unlisten", "connect"))
UDP = Signature("udp")
