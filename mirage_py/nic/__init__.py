# SPDX-License-Identifier: MIT
"""An emulated Intel 82599 behind a vfio-user socket: the transport, the device model and its backends."""
