# SPDX-License-Identifier: MIT
"""virtio over PCI (Virtual I/O Device specification 1.2, section 4.1): modern devices only, split virtqueues.

What all virtio drivers share: finding the structures, the status sequence, features, and the memory of a queue. The
queues' contents are the driver's own business; where the specification numbers sections, this is version 1.2.
"""

from micropython import const

from libos.hal.buffers import view
from libos.hal.mmio import DeviceError, wait_value

VENDOR = const(0x1AF4)

# Structure types in the vendor capabilities (4.1.4).
_CFG_COMMON = const(1)
_CFG_NOTIFY = const(2)
_CFG_ISR = const(3)
_CFG_DEVICE = const(4)

# Common configuration structure (4.1.4.3), by octet.
_DEVICE_FEATURE_SELECT = const(0x00)
_DEVICE_FEATURE = const(0x04)
_DRIVER_FEATURE_SELECT = const(0x08)
_DRIVER_FEATURE = const(0x0C)
_CONFIG_MSIX_VECTOR = const(0x10)
_DEVICE_STATUS = const(0x14)
_CONFIG_GENERATION = const(0x15)
_QUEUE_SELECT = const(0x16)
_QUEUE_SIZE = const(0x18)
_QUEUE_MSIX_VECTOR = const(0x1A)
_QUEUE_ENABLE = const(0x1C)
_QUEUE_NOTIFY_OFF = const(0x1E)
_QUEUE_DESC = const(0x20)
_QUEUE_DRIVER = const(0x28)
_QUEUE_DEVICE = const(0x30)
_COMMON_BYTES = const(0x38)

# Device status (2.1).
_ACKNOWLEDGE = const(1)
_DRIVER = const(2)
_DRIVER_OK = const(4)
_FEATURES_OK = const(8)
_NEEDS_RESET = const(64)
_FAILED = const(128)

# Features of the transport (6): ours to decide, whatever the driver is.
_VERSION_1 = const(1 << 32)
_ACCESS_PLATFORM = const(1 << 33)

_NO_VECTOR = const(0xFFFF)

DESC_WRITE = const(2)  # VIRTQ_DESC_F_WRITE (2.7.5)
NO_INTERRUPT = const(1)  # VIRTQ_AVAIL_F_NO_INTERRUPT (2.7.6)
NO_NOTIFY = const(1)  # VIRTQ_USED_F_NO_NOTIFY (2.7.8)


class Virtqueue:
    """The memory of a split virtqueue (2.7), and its doorbell.

    desc64, desc32, desc16: the descriptor table as words of 64, 32, 16 bits. avail16: flags, idx, ring…;
    used16: flags, idx; used32: element k is at 1 + 2 k (id) and 2 + 2 k (length).
    """

    def __init__(self, dma, index, size):
        self.index = index
        self.size = size
        # One piece for all three parts: descriptors 16, avail 2, used 4 octets aligned (2.7).
        avail_start = 16 * size
        used_start = avail_start + 6 + 2 * size + 3 & ~3
        used_bytes = 8 + 8 * size
        memory, phys_addr = dma.alloc(used_start + used_bytes, 64)
        self.memory = memory
        self.desc_phys_addr = phys_addr
        self.avail_phys_addr = phys_addr + avail_start
        self.used_phys_addr = phys_addr + used_start
        self.desc64 = view(memory, 0, avail_start, "Q")
        self.desc32 = view(memory, 0, avail_start, "I")
        self.desc16 = view(memory, 0, avail_start, "H")
        self.avail16 = view(memory, avail_start, 4 + 2 * size, "H")
        self.used16 = view(memory, used_start, 4, "H")
        self.used32 = view(memory, used_start, 4 + 8 * size, "I")
        self.doorbell = None  # a view of the queue's notification register, 16 bits

    def clear(self):
        """As after allocation: for a device that starts anew."""
        # In one go: word by word, this was a tenth of all that happens until an image listens.
        self.memory[:] = bytes(len(self.memory))

    def set_descriptor(self, slot, phys_addr, len_bytes, flags):
        self.desc64[2 * slot] = phys_addr
        self.desc32[4 * slot + 2] = len_bytes
        self.desc16[8 * slot + 6] = flags
        self.desc16[8 * slot + 7] = 0


class VirtioPci:
    """The transport of one device. pci_device: hal.pci.PciDevice; name: for error messages.

    Raises DeviceError when the device offers no modern interface, or structures outside its BARs.
    """

    def __init__(self, pci_device, name):
        self.pci_device = pci_device
        self.name = name
        structures = {}
        for cap_id, offset in pci_device.capabilities():
            if cap_id != 9:
                continue
            kind = pci_device.read(offset + 3, 1)
            # The first of a kind that we support is the one to use (4.1.4.1): it may be in a BAR that is none of
            # memory (modern-pio-notify=on), and a BAR number above 5 is reserved.
            if kind not in structures and self._is_memory(pci_device.read(offset + 4, 1)):
                structures[kind] = offset
        if _CFG_COMMON not in structures or _CFG_NOTIFY not in structures:
            raise DeviceError("%s: no virtio 1 interface (a legacy device? disable-modern=off)" % self._where())
        pci_device.enable()
        self._common8 = self._map(structures[_CFG_COMMON], _COMMON_BYTES, "B")
        self._common16 = self._map(structures[_CFG_COMMON], _COMMON_BYTES, "H")
        self._common32 = self._map(structures[_CFG_COMMON], _COMMON_BYTES, "I")
        self._isr = self._map(structures[_CFG_ISR], 1, "B") if _CFG_ISR in structures else None
        self.config = None  # the device-specific structure, by octet
        if _CFG_DEVICE in structures:
            self.config = self._map(structures[_CFG_DEVICE], None, "B")
        self._notify = structures[_CFG_NOTIFY]
        self._notify_multiplier = pci_device.read(self._notify + 16, 4)
        self.features = 0
        self._intx_source = None
        self._has_msix = False
        self._open_interrupt()

    def _where(self):
        return "%s (%s)" % (self.name, self.pci_device.slot)

    def _is_memory(self, index):
        bar = self.pci_device.bars()[index] if index < 6 else None
        return bar is not None and not bar.is_io

    def _map(self, capability, len_bytes, typecode):
        """A view of a structure's first `len_bytes`, or of all of it."""
        bar = self.pci_device.read(capability + 4, 1)
        offset = self.pci_device.read(capability + 8, 4)
        given = self.pci_device.read(capability + 12, 4)
        if len_bytes is None:
            len_bytes = min(given, 256)
        if given < len_bytes or len_bytes == 0:
            raise DeviceError("%s: a virtio structure of %d octets" % (self._where(), given))
        return self.pci_device.map_bar(bar, offset, len_bytes, typecode)

    # --- bringing it up: 3.1.1 ---

    def reset(self, timeout_us):
        """Steps 1 to 3. Raises DeviceError when the device does not come back from its reset."""
        self._common8[_DEVICE_STATUS] = 0
        # 4.1.4.3.2: the driver waits until the status reads 0.
        wait_value(self._common8, _DEVICE_STATUS, 0xFF, 0, timeout_us, self._where() + ": virtio reset")
        self._common8[_DEVICE_STATUS] = _ACKNOWLEDGE
        self._common8[_DEVICE_STATUS] = _ACKNOWLEDGE | _DRIVER

    def offered_features(self):
        common = self._common32
        common[_DEVICE_FEATURE_SELECT >> 2] = 0
        features = common[_DEVICE_FEATURE >> 2]
        common[_DEVICE_FEATURE_SELECT >> 2] = 1
        return features | common[_DEVICE_FEATURE >> 2] << 32

    def accept_features(self, wanted):
        """Steps 4 to 6. Returns the accepted features. Raises DeviceError when the device does not agree."""
        offered = self.offered_features()
        if not offered & _VERSION_1:
            raise self.failure("does not offer VIRTIO_F_VERSION_1")
        features = offered & (wanted | _VERSION_1 | _ACCESS_PLATFORM)
        common = self._common32
        common[_DRIVER_FEATURE_SELECT >> 2] = 0
        common[_DRIVER_FEATURE >> 2] = features & 0xFFFFFFFF
        common[_DRIVER_FEATURE_SELECT >> 2] = 1
        common[_DRIVER_FEATURE >> 2] = features >> 32
        status = _ACKNOWLEDGE | _DRIVER | _FEATURES_OK
        self._common8[_DEVICE_STATUS] = status
        if not self._common8[_DEVICE_STATUS] & _FEATURES_OK:
            raise self.failure("refuses the features 0x%x" % features)
        self.features = features
        return features

    def queue_size(self, index):
        """The largest size of queue `index`, 0 when there is no such queue."""
        self._common16[_QUEUE_SELECT >> 1] = index
        return self._common16[_QUEUE_SIZE >> 1]

    def start_queue(self, queue):
        """Tells the device where the (cleared) queue is and switches it on (4.1.5.1.3)."""
        common16 = self._common16
        common16[_QUEUE_SELECT >> 1] = queue.index
        if common16[_QUEUE_SIZE >> 1] < queue.size:
            raise self.failure("queue %d became too small" % queue.index)
        common16[_QUEUE_SIZE >> 1] = queue.size
        common32 = self._common32
        for register, phys_addr in (
            (_QUEUE_DESC, queue.desc_phys_addr),
            (_QUEUE_DRIVER, queue.avail_phys_addr),
            (_QUEUE_DEVICE, queue.used_phys_addr),
        ):
            common32[register >> 2] = phys_addr & 0xFFFFFFFF
            common32[(register >> 2) + 1] = phys_addr >> 32
        if self._has_msix:
            self._set_vector(_QUEUE_MSIX_VECTOR, "queue %d" % queue.index)
        if queue.doorbell is None:
            queue.doorbell = self._doorbell(common16[_QUEUE_NOTIFY_OFF >> 1])
        common16[_QUEUE_ENABLE >> 1] = 1

    def _doorbell(self, notify_off):
        offset = notify_off * self._notify_multiplier
        device = self.pci_device
        if offset + 2 > device.read(self._notify + 12, 4):
            raise self.failure("a doorbell outside the notification structure")
        start = device.read(self._notify + 8, 4) + offset
        return device.map_bar(device.read(self._notify + 4, 1), start, 2, "H")

    def start(self):
        """Step 8: the device is live."""
        self._common8[_DEVICE_STATUS] = _ACKNOWLEDGE | _DRIVER | _FEATURES_OK | _DRIVER_OK

    def failure(self, text):
        """Tells the device that the driver gave up on it. Returns the DeviceError to raise."""
        self._common8[_DEVICE_STATUS] = self._common8[_DEVICE_STATUS] | _FAILED
        return DeviceError("%s: the device %s" % (self._where(), text))

    def is_healthy(self):
        """False when the device asks for a reset (2.1.1), lost its state, or is gone (all ones)."""
        status = self._common8[_DEVICE_STATUS]
        return status & (_DRIVER_OK | _NEEDS_RESET | _FAILED) == _DRIVER_OK

    def read_config(self, offset, count):
        """`count` octets of the device configuration, none of them changed in between (2.5.1)."""
        data = bytearray(count)
        for _ in range(16):
            generation = self._common8[_CONFIG_GENERATION]
            for index in range(count):
                data[index] = self.config[offset + index]
            if self._common8[_CONFIG_GENERATION] == generation:
                return bytes(data)
        raise DeviceError("%s: the configuration never stands still" % self._where())

    # --- interrupts: one source for everything, since it only wakes ---

    def _open_interrupt(self):
        if self.pci_device.enable_msix(1) is not None:
            self._has_msix = True
        elif self._isr is not None:
            self._intx_source = self.pci_device.enable_intx()
        self.has_intx = self._intx_source is not None
        self.has_interrupt = self._has_msix or self.has_intx

    def start_config_interrupt(self):
        """After each reset: configuration changes use the same source."""
        if self._has_msix:
            self._set_vector(_CONFIG_MSIX_VECTOR, "configuration changes")

    def _set_vector(self, register, what):
        self._common16[register >> 1] = 0
        if self._common16[register >> 1] == _NO_VECTOR:
            raise self.failure("has no MSI-X vector for %s" % what)

    def quiet_intx(self):
        """Before the queues' interrupts are switched on: a level-triggered line must be quiet, then it may fire."""
        _ = self._isr[0]  # reading quiets the line (4.1.4.5)
        self.pci_device.unmask_intx(self._intx_source)
