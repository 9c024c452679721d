# SPDX-License-Identifier: MIT
"""What a config.py imports: devices, keys, and `register` for the unikernel they make up."""

from mirage_py.configure.config_file import choose, key, register, unikernel
from mirage_py.configure.device import (
    HVT,
    LOCAL_NAME,
    NUMBER,
    ORDER,
    TARGET,
    UNIX,
    USER_COUNT,
    Choice,
    Device,
    Kind,
    Node,
    Signature,
    optional,
)
from mirage_py.configure.devices.addressing import addressing
from mirage_py.configure.devices.arp import arp
from mirage_py.configure.devices.clock import clock
from mirage_py.configure.devices.congestion import cubic, default_congestion, newreno
from mirage_py.configure.devices.console import console
from mirage_py.configure.devices.crypto import crypto
from mirage_py.configure.devices.dhcp import dhcp
from mirage_py.configure.devices.dma import dma
from mirage_py.configure.devices.dns import dns_client
from mirage_py.configure.devices.ethernet import ethernet
from mirage_py.configure.devices.files import files
from mirage_py.configure.devices.happy_eyeballs import happy_eyeballs
from mirage_py.configure.devices.http_server import http_server
from mirage_py.configure.devices.https_client import http_client, https_client
from mirage_py.configure.devices.icmp import icmp
from mirage_py.configure.devices.icmp6 import icmp6
from mirage_py.configure.devices.inflate import inflate
from mirage_py.configure.devices.ipv4 import ipv4, unnumbered_ipv4
from mirage_py.configure.devices.ipv6 import ipv6
from mirage_py.configure.devices.ixgbe import IXGBE_PCI, ixgbe, ixgbe_of_pci
from mirage_py.configure.devices.log import log
from mirage_py.configure.devices.loop import event_loop
from mirage_py.configure.devices.ndp import ndp
from mirage_py.configure.devices.netstack import addressed_netstack, netstack, netstack_of
from mirage_py.configure.devices.network import default_network
from mirage_py.configure.devices.pcap import pcap, recorded_stack
from mirage_py.configure.devices.pci import PciInfo, pci_bus, pci_device
from mirage_py.configure.devices.random import random
from mirage_py.configure.devices.signatures import (
    ADDRESSING,
    ARP,
    CLOCK,
    CONGESTION,
    CONSOLE,
    CRYPTO,
    DHCP,
    DMA,
    DNS,
    ETHERNET,
    FILES,
    HAPPY_EYEBALLS,
    HTTP_CLIENT,
    HTTP_SERVER,
    ICMP,
    ICMP6,
    INFLATE,
    IPV4,
    IPV6,
    LOG,
    LOOP,
    NDP,
    NETSTACK,
    NETWORK,
    PCI_BUS,
    PCI_DEVICE,
    RANDOM,
    RESOLVER,
    SOCKETS,
    STACK,
    TCP,
    UDP,
)
from mirage_py.configure.devices.sockets import sockets
from mirage_py.configure.devices.stack import configured_stack, direct_stack, generic_stack, socket_stack
from mirage_py.configure.devices.tap import tap
from mirage_py.configure.devices.tcp import tcp
from mirage_py.configure.devices.tls import tls
from mirage_py.configure.devices.tls_contexts import tls_contexts
from mirage_py.configure.devices.udp import udp
from mirage_py.configure.devices.virtio_net import VIRTIO_NET_PCI, virtio_net, virtio_of_pci
from mirage_py.configure.embedded import Embedded

__all__ = [
    "ADDRESSING",
    "ARP",
    "CLOCK",
    "CONGESTION",
    "CONSOLE",
    "CRYPTO",
    "DHCP",
    "DMA",
    "DNS",
    "ETHERNET",
    "FILES",
    "HAPPY_EYEBALLS",
    "HTTP_CLIENT",
    "HTTP_SERVER",
    "HVT",
    "ICMP",
    "ICMP6",
    "INFLATE",
    "IPV4",
    "IPV6",
    "IXGBE_PCI",
    "LOCAL_NAME",
    "LOG",
    "LOOP",
    "NDP",
    "NETSTACK",
    "NETWORK",
    "NUMBER",
    "ORDER",
    "PCI_BUS",
    "PCI_DEVICE",
    "RANDOM",
    "RESOLVER",
    "SOCKETS",
    "STACK",
    "TARGET",
    "TCP",
    "UDP",
    "UNIX",
    "USER_COUNT",
    "VIRTIO_NET_PCI",
    "Choice",
    "Device",
    "Embedded",
    "Kind",
    "Node",
    "PciInfo",
    "Signature",
    "addressed_netstack",
    "addressing",
    "arp",
    "choose",
    "clock",
    "configured_stack",
    "console",
    "crypto",
    "cubic",
    "default_congestion",
    "default_network",
    "dhcp",
    "direct_stack",
    "dma",
    "dns_client",
    "ethernet",
    "event_loop",
    "files",
    "generic_stack",
    "happy_eyeballs",
    "http_client",
    "http_server",
    "https_client",
    "icmp",
    "icmp6",
    "inflate",
    "ipv4",
    "ipv6",
    "ixgbe",
    "ixgbe_of_pci",
    "key",
    "log",
    "ndp",
    "netstack",
    "netstack_of",
    "newreno",
    "optional",
    "pcap",
    "pci_bus",
    "pci_device",
    "random",
    "recorded_stack",
    "register",
    "socket_stack",
    "sockets",
    "tap",
    "tcp",
    "tls",
    "tls_contexts",
    "udp",
    "unikernel",
    "unnumbered_ipv4",
    "virtio_net",
    "virtio_of_pci",
]
