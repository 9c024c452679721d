# SPDX-License-Identifier: MIT
"""Random numbers from the machine's entropy source (getrandom, RDSEED/RDRAND, a device), drawn in blocks."""

import _mirage

from .mmio import DeviceError

NO_SOURCE = (
    "no source of random numbers: this processor has no RDRAND, and there is no virtio-rng to ask; "
    "use -cpu max or host, or add -device virtio-rng-pci"
)
_POOL_BYTES = 256


class Random:
    """Unpredictable numbers, fit for sequence numbers, ports and keys.

    source: whose fill(bytearray) is asked where the processor has none, such as driver.virtio_rng; or None.
    Raises DeviceError when the machine has no source of entropy: predictable numbers in their place would be worse.
    """

    def __init__(self, source=None):
        self._pool = bytearray(_POOL_BYTES)
        self._used = _POOL_BYTES
        self._fill = _mirage.entropy
        try:
            self.u32()
        except OSError:
            if source is None:
                raise DeviceError(NO_SOURCE)
            self._fill = source.fill
            self.u32()

    def bytes(self, count):
        """`count` random octets."""
        if count > _POOL_BYTES:
            data = bytearray(count)
            self._fill(data)
            return bytes(data)
        if self._used + count > _POOL_BYTES:
            self._refill()
        start = self._used
        self._used = end = start + count
        data = bytes(self._pool[start:end])
        self._pool[start:end] = bytes(count)  # they may be a key: only who asked for them has them
        return data

    def u32(self):
        """A number from 0 to 2**32 - 1."""
        used = self._used
        if used + 4 > _POOL_BYTES:
            self._refill()
            used = 0
        self._used = used + 4
        pool = self._pool
        return pool[used] << 24 | pool[used + 1] << 16 | pool[used + 2] << 8 | pool[used + 3]

    def below(self, limit):
        """A number from 0 to limit - 1, each equally likely. limit: 1 to 2**32."""
        if not 1 <= limit <= 1 << 32:
            raise ValueError("random: limit")
        end = (1 << 32) - (1 << 32) % limit  # above it the small numbers would come up more often
        while True:
            number = self.u32()
            if number < end:
                return number % limit

    def _refill(self):
        self._fill(self._pool)
        self._used = 0
