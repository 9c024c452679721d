# SPDX-License-Identifier: MIT
"""A vfio-user server library: a PCI device in a process of its own, attached to a virtual machine over a socket.

Another device is a subclass of `vfio_user.device.Device`; `docs/nic.md` walks through one.
Specification: QEMU's docs/interop/vfio-user.rst, protocol version 0.0.
"""
