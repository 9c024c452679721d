# SPDX-License-Identifier: MIT
"""Linux's TAP interfaces and their descriptors, for driver.tap."""

import _mirage

tap_open = _mirage.tap_open  # tap_open(name, vnet_header_bytes) -> (fd, mtu, features)
tap_create = _mirage.tap_create  # tap_create(name, vnet_header_bytes, host_address, host_netmask), likewise
fd_read = _mirage.fd_read  # fd_read(fd, buf, start, len_bytes) -> octets, -1 would block
fd_write = _mirage.fd_write  # fd_write(fd, buf, start, len_bytes) -> octets, -1 would block
fd_watch = _mirage.fd_watch  # fd_watch(fd, events): 1 read, 2 write; 0 takes it out
READ = 1
WRITE = 2
