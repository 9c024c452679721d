# SPDX-License-Identifier: MIT
"""The vfio-user server against a client of its own: versions, memory, regions, interrupts, and what goes wrong."""

import array
import errno
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirage_py.nic.vfio_user.device import Device, Region
from mirage_py.nic.vfio_user.dma import DmaError
from mirage_py.nic.vfio_user.irq import Irqs
from mirage_py.nic.vfio_user.pci_config import BAR_MEMORY_64, CAP_MSIX, PciConfig
from tests.nic.client import HEADER, Client, Refused, Serving, is_signalled, memory_file


class Memory(Region):
    """A BAR of plain memory that keeps the order of writes; octet 0xF0 of it fails."""

    def __init__(self) -> None:
        super().__init__(4096)
        self.store = bytearray(4096)
        self.writes: list[tuple[int, bytes]] = []

    def read(self, offset: int, length: int) -> bytes:
        if offset == 0xF0:
            raise RuntimeError("a fault of the model")
        return bytes(self.store[offset : offset + length])

    def write(self, offset: int, data: memoryview) -> None:
        self.store[offset : offset + len(data)] = data
        self.writes.append((offset, bytes(data)))


class Doorbell(Device):
    """Writing an address to BAR 0 at 0x100 copies 8 octets from there to 0x100 octets above, at the next settling."""

    def __init__(self) -> None:
        super().__init__(Irqs(intx=1, msi=1, msix=4))
        self.bar = Memory()
        self.regions[0] = self.bar
        config = PciConfig(0x1234, 0x5678, 0xFF0000, 2, (0x1234, 1))
        config.add_bar(0, 4096, BAR_MEMORY_64)
        config.add_capability(0x70, CAP_MSIX, struct.pack("<HII", 3, 0, 0x800), b"\x00\xc0")
        config.seal()
        self.config = config
        self.regions[7] = config
        self.settled = 0
        self.resets = 0
        self.failures = 0
        self.done = 0

    def settle(self) -> None:
        self.settled += 1
        pending = [data for offset, data in self.bar.writes[self.done :] if offset == 0x100]
        self.done = len(self.bar.writes)
        for data in pending:
            address = int.from_bytes(data, "little")
            try:
                self.dma.write(address + 0x100, self.dma.read(address, 8))
            except Exception:
                self.failures += 1
                raise

    def reset(self) -> None:
        self.resets += 1
        self.config.reset()


@pytest.fixture
def device() -> Doorbell:
    return Doorbell()


@pytest.fixture
def serving(tmp_path: Path, device: Doorbell) -> Iterator[Serving]:
    serving = Serving(tmp_path / "s", device)
    yield serving
    serving.stop()


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    client = Client(serving.path)
    yield client
    client.close()


def test_version_answers_with_a_subset_of_what_was_offered(serving: Serving) -> None:
    client = Client(serving.path, version=False)
    assert client.version(write_multiple=False) == {"max_msg_fds": 16}


def test_version_without_room_for_capabilities_still_fits(serving: Serving) -> None:
    client = Client(serving.path, version=False)
    body = struct.pack("<HH", 0, 0) + b'{"capabilities":{}}\0'
    answer = client.call(1, body)
    assert len(answer) <= len(body)
    assert json.loads(answer[4:-1]) == {"capabilities": {}}


@pytest.mark.parametrize("body", [b"", b"\0", b"\1\0\0\0{}\0", b"\0\0\0\0{", b"\0\0\0\0[]\0", b"\0\0\0\0\xff\xfe\0"])
def test_version_that_makes_no_sense_is_refused_and_may_be_repeated(serving: Serving, body: bytes) -> None:
    client = Client(serving.path, version=False)
    with pytest.raises(Refused):
        client.call(1, body)
    client.version()
    assert client.read(7, 0, 4) == b"\x34\x12\x78\x56"


def test_command_before_version_is_refused(serving: Serving) -> None:
    client = Client(serving.path, version=False)
    with pytest.raises(Refused):
        client.read(0, 0, 4)


def test_device_regions_and_interrupts_are_described(client: Client) -> None:
    assert struct.unpack("<IIII", client.call(4, struct.pack("<IIII", 16, 0, 0, 0))) == (16, 3, 9, 5)
    region = client.call(5, struct.pack("<IIIIQQ", 32, 0, 0, 0, 0, 0))
    assert struct.unpack("<IIIIQQ", region) == (32, 3, 0, 0, 4096, 0)
    absent = client.call(5, struct.pack("<IIIIQQ", 32, 0, 2, 0, 0, 0))
    assert struct.unpack("<IIIIQQ", absent)[4] == 0
    counts = [struct.unpack("<IIII", client.call(7, struct.pack("<IIII", 16, 0, i, 0)))[3] for i in range(5)]
    assert counts == [1, 1, 4, 1, 1]
    for command, body in ((5, struct.pack("<IIIIQQ", 32, 0, 9, 0, 0, 0)), (7, struct.pack("<IIII", 16, 0, 5, 0))):
        with pytest.raises(Refused):
            client.call(command, body)


def test_mappable_region_comes_with_its_file_and_areas(device: Doorbell, client: Client) -> None:
    fd = memory_file(4096)
    device.bar.fd, device.bar.areas = fd, [(0, 4096)]
    client.send(client.pack(5, struct.pack("<IIIIQQ", 32, 0, 0, 0, 0, 0)))
    data, ancillary, _, _ = client.sock.recvmsg(4096, socket.CMSG_SPACE(4))
    assert len(ancillary) == 1
    os.close(array.array("i", ancillary[0][2])[0])
    argsz, flags, _, cap, _, _ = struct.unpack_from("<IIIIQQ", data, 16)
    assert (argsz, flags, cap) == (32 + 16 + 16, 15, 0), "too small an argsz: the size that is needed, no areas"
    client.send(client.pack(5, struct.pack("<IIIIQQ", 64, 0, 0, 0, 0, 0)))
    data, ancillary, _, _ = client.sock.recvmsg(4096, socket.CMSG_SPACE(4))
    os.close(array.array("i", ancillary[0][2])[0])
    assert struct.unpack_from("<HHIIIQQ", data, 16 + 32) == (1, 1, 0, 1, 0, 0, 4096)
    os.close(fd)


def test_region_is_read_and_written(client: Client) -> None:
    client.write(0, 0x20, b"abcdefgh")
    assert client.read(0, 0x22, 4) == b"cdef"


@pytest.mark.parametrize(
    ("region", "offset", "count"), [(0, 4093, 4), (0, 1 << 63, 4), (2, 0, 4), (99, 0, 4), (0, 0, 1 << 30)]
)
def test_access_outside_a_region_is_refused(client: Client, region: int, offset: int, count: int) -> None:
    with pytest.raises(Refused):
        client.call(9, struct.pack("<QII", offset, region, count))
    assert client.read(0, 0, 4) == bytes(4)


def test_fault_of_the_model_is_an_error_reply(client: Client) -> None:
    with pytest.raises(Refused) as refusal:
        client.read(0, 0xF0, 4)
    assert refusal.value.code == errno.EIO
    assert client.read(0, 0, 4) == bytes(4)


def test_coalesced_posted_writes_are_done_in_order_before_the_read_behind(device: Doorbell, client: Client) -> None:
    writes = b"".join(client.posted(0, 4 * (n % 8), n.to_bytes(4, "little")) for n in range(500))
    client.send(writes + client.pack(9, struct.pack("<QII", 28, 0, 4)))
    _, command, body = client.reply()
    assert command == 9
    assert int.from_bytes(body[16:], "little") == 495
    assert [int.from_bytes(data, "little") for _, data in device.bar.writes] == list(range(500))
    assert device.settled < 100, "coalesced messages settle together"


def test_message_cut_anywhere_is_put_together(client: Client) -> None:
    message = client.posted(0, 8, b"wxyz") + client.pack(9, struct.pack("<QII", 8, 0, 4))
    for cut in range(1, len(message)):
        client.send(message[:cut])
        client.send(message[cut:])
        assert client.reply()[2][16:] == b"wxyz"


def test_write_multi_is_done_in_order(device: Doorbell, client: Client) -> None:
    entries = b"".join(struct.pack("<QII8s", 4 * n, 0, 4, bytes([n] * 4)) for n in range(5))
    assert client.call(15, struct.pack("<Q", 5) + entries) == struct.pack("<Q", 5)
    assert [offset for offset, _ in device.bar.writes] == [0, 4, 8, 12, 16]
    for count, body in ((2, entries[:24]), (1, struct.pack("<QII8s", 0, 0, 9, b"")), (1 << 60, b"")):
        with pytest.raises(Refused):
            client.call(15, struct.pack("<Q", count) + body)


def test_large_message_grows_the_buffer(client: Client) -> None:
    with pytest.raises(Refused):
        client.write(0, 0, bytes(1 << 20))
    assert client.read(0, 0, 4) == bytes(4)


def test_dma_spans_pieces_with_offsets(device: Doorbell, client: Client) -> None:
    fd = memory_file(3 * 4096)
    os.pwrite(fd, b"abcd", 4092)
    os.pwrite(fd, b"efgh", 8192)
    client.map(0x10000, 4096, fd, 0)
    client.map(0x11000, 4096, fd, 8192)
    client.write(0, 0x100, (0x10FFC).to_bytes(8, "little"))
    client.read(0, 0, 1)
    assert os.pread(fd, 8, 8192 + 0xFC) == b"abcdefgh"
    client.unmap(0x11000, 4096)
    client.write(0, 0x100, (0x10FFC).to_bytes(8, "little"))
    client.read(0, 0, 1)
    assert device.failures == 1
    os.close(fd)


def test_dma_to_a_read_only_piece_fails_and_changes_nothing(device: Doorbell, client: Client) -> None:
    fd = memory_file(8192)
    client.map(0, 4096, fd, 0, flags=1)
    client.map(4096, 4096, fd, 4096)
    os.pwrite(fd, b"12345678", 0xF00 - 4)
    client.write(0, 0x100, (0xEFC).to_bytes(8, "little"))
    client.read(0, 0, 1)
    assert device.failures == 1
    assert os.pread(fd, 4096, 4096) == bytes(4096)
    os.close(fd)


def test_dma_without_a_descriptor_goes_by_messages(device: Doorbell, client: Client) -> None:
    client.memory[0x8000] = bytearray(4096)
    client.memory[0x8000][0x20:0x28] = b"MESSAGES"
    client.map(0x8000, 4096, None)
    fd = memory_file(4096)
    client.map(0x9000, 4096, fd)
    # More commands behind the doorbell: they arrive while the server waits for our answers.
    doorbell = client.posted(0, 0x100, (0x8020).to_bytes(8, "little"))
    client.send(
        doorbell + client.pack(9, struct.pack("<QII", 0x100, 0, 8)) + client.pack(9, struct.pack("<QII", 0, 0, 1))
    )
    assert client.reply()[2][16:] == (0x8020).to_bytes(8, "little")
    assert client.reply()[1] == 9
    client.read(0, 0, 1)
    assert client.memory[0x8000][0x120:0x128] == b"MESSAGES"
    # Across the border of a piece by messages and a shared one.
    os.pwrite(fd, b"WXYZ", 0)
    client.memory[0x8000][0xFFC:] = b"STUV"
    client.write(0, 0x100, (0x8FFC).to_bytes(8, "little"))
    client.read(0, 0, 1)
    client.read(0, 0, 1)
    assert os.pread(fd, 8, 0xFC) == b"STUVWXYZ"
    os.close(fd)


def test_dma_refused_by_the_client_is_an_error_for_the_device_only(device: Doorbell, client: Client) -> None:
    client.map(0x8000, 4096, None)
    client.send(client.posted(0, 0x100, (0x8020).to_bytes(8, "little")))
    client.read(0, 0, 1)
    client.read(0, 0, 1)
    assert device.failures == 1


@pytest.mark.parametrize(
    ("address", "size", "flags", "code"),
    [
        (0x1000, 0, 3, errno.EINVAL),
        (1 << 63, 1 << 63, 7, errno.EINVAL),
        ((1 << 64) - 4096, 8192, 3, errno.EINVAL),
        (0x3000, 4096, 3, errno.EEXIST),
        (0x1000, 1 << 40, 3, errno.EEXIST),
    ],
)
def test_mapping_that_makes_no_sense_is_refused(client: Client, address: int, size: int, flags: int, code: int) -> None:
    client.map(0x2000, 0x2000, None)
    with pytest.raises(Refused) as refusal:
        client.map(address, size, None, flags=flags)
    assert refusal.value.code == code


def test_mapping_beyond_the_end_of_its_file_is_refused(client: Client) -> None:
    fd = memory_file(4096)
    for offset, size in ((0, 8192), (4096, 4096), (1 << 62, 4096)):
        with pytest.raises(Refused):
            client.map(0, size, fd, offset)
    reader, writer = os.pipe()
    with pytest.raises(Refused):
        client.map(0, 4096, reader)
    for descriptor in (fd, reader, writer):
        os.close(descriptor)


def test_descriptors_coalesced_with_other_messages_reach_their_own(client: Client) -> None:
    first, second = memory_file(4096), memory_file(4096)
    os.pwrite(second, b"SECOND!!", 0)
    # One mapping without and one with a descriptor, and a write before them, likely in one read of the server.
    client.send(client.posted(0, 0, b"...."))
    client.send(client.pack(2, struct.pack("<IIQQQ", 32, 3, 0, 0x1000, 4096)))
    client.send(client.pack(2, struct.pack("<IIQQQ", 32, 3, 0, 0x2000, 4096)), [second])
    assert client.reply()[1] == 2
    assert client.reply()[1] == 2
    client.write(0, 0x100, (0x2000).to_bytes(8, "little"))
    client.read(0, 0, 1)
    assert os.pread(second, 8, 0x100) == b"SECOND!!"
    os.close(first)
    os.close(second)


def test_msix_vectors_are_signalled_and_taken_back(device: Doorbell, client: Client) -> None:
    fds = [os.eventfd(0) for _ in range(4)]
    client.set_irqs(0x24, 2, 0, 4, fds)
    assert device.irqs.trigger(2, 3)
    assert is_signalled(fds[3])
    assert not is_signalled(fds[2], 0.01)
    client.set_irqs(0x24, 2, 3, 1)
    assert not device.irqs.trigger(2, 3)
    assert device.irqs.trigger(2, 0)
    client.set_irqs(0x21, 2, 0, 0)
    assert not device.irqs.trigger(2, 0)
    for fd in fds:
        os.close(fd)


def test_client_may_trigger_and_mask(device: Doorbell, client: Client) -> None:
    fd = os.eventfd(0)
    client.set_irqs(0x24, 2, 1, 1, [fd])
    client.set_irqs(0x21, 2, 1, 1)
    assert is_signalled(fd)
    client.set_irqs(0x9, 2, 1, 1)
    assert not device.irqs.trigger(2, 1)
    client.set_irqs(0x11, 2, 1, 1)
    assert device.irqs.trigger(2, 1)
    os.close(fd)


def test_intx_stays_up_until_the_device_lets_go(device: Doorbell, client: Client) -> None:
    fd = os.eventfd(0)
    client.set_irqs(0x24, 0, 0, 1, [fd])
    device.irqs.set_level(True)
    assert is_signalled(fd)
    device.irqs.set_level(True)
    assert not is_signalled(fd, 0.01), "masked by itself until the client unmasks"
    client.set_irqs(0x11, 0, 0, 1)
    assert is_signalled(fd), "still up"
    device.irqs.set_level(False)
    client.set_irqs(0x11, 0, 0, 1)
    assert not is_signalled(fd, 0.01)
    os.close(fd)


def test_interrupt_requests_that_make_no_sense_are_refused(device: Doorbell, client: Client) -> None:
    fd = os.eventfd(0)
    reader, writer = os.pipe()
    for flags, index, start, count, fds in (
        (0x24, 2, 0, 5, [fd]),
        (0x24, 2, 0, 2, [fd]),
        (0x24, 5, 0, 1, [fd]),
        (0x3F, 2, 0, 1, [fd]),
        (0x24, 2, 0, 1, [writer]),
        (0x14, 2, 0, 1, [fd]),
        (0x22, 2, 0, 4, None),
        (0x24, 2, 0xFFFFFFFF, 1, [fd]),
        (0x24, 2, 0, 0, None),
    ):
        with pytest.raises(Refused):
            client.set_irqs(flags, index, start, count, fds)
    assert not device.irqs.is_enabled(2)
    for descriptor in (fd, reader, writer):
        os.close(descriptor)


def test_reset_reaches_the_device(device: Doorbell, client: Client) -> None:
    client.write(7, 4, b"\x06\x00")
    assert client.read(7, 4, 2) == b"\x06\x00"
    client.call(13)
    assert device.resets == 1
    assert client.read(7, 4, 2) == bytes(2)


def test_config_space_keeps_what_is_read_only(client: Client) -> None:
    client.write(7, 0, b"\xff" * 64)
    assert client.read(7, 0, 4) == b"\x34\x12\x78\x56"
    assert client.read(7, 0x10, 8) == (0xFFFF_FFFF_FFFF_F000 | 4).to_bytes(8, "little"), "how a BAR is sized"
    assert client.read(7, 0x34, 1) == b"\x70"
    assert client.read(7, 0x70, 4) == b"\x11\x00\x03\x00"
    client.write(7, 0x72, b"\xff\xff")
    assert client.read(7, 0x72, 2) == b"\x03\xc0"


def test_unknown_command_is_refused(client: Client) -> None:
    for command in (0, 6, 11, 14, 16, 999):
        with pytest.raises(Refused) as refusal:
            client.call(command, bytes(64))
        assert refusal.value.code == errno.ENOTSUP


@pytest.mark.parametrize("size", [0, 15, 1 << 24, 0xFFFFFFFF])
def test_impossible_size_ends_the_connection_and_not_the_server(serving: Serving, size: int) -> None:
    client = Client(serving.path)
    client.send(HEADER.pack(1, 9, size, 0, 0) + bytes(64))
    with pytest.raises(Refused):
        client.reply()
    with pytest.raises(ConnectionError):
        client.reply()
    assert Client(serving.path).read(7, 0, 2) == b"\x34\x12"


def test_next_client_finds_memory_and_interrupts_gone(device: Doorbell, serving: Serving) -> None:
    first = Client(serving.path)
    fd, event = memory_file(4096), os.eventfd(0)
    first.map(0, 4096, fd)
    first.set_irqs(0x24, 2, 0, 1, [event])
    first.close()
    second = Client(serving.path)
    assert len(device.dma) == 0
    assert not device.irqs.is_enabled(2)
    second.map(0, 4096, fd)
    os.close(fd)
    os.close(event)


def test_second_client_is_turned_away(client: Client, serving: Serving) -> None:
    with pytest.raises((ConnectionError, OSError)):
        Client(serving.path)
    assert client.read(7, 0, 2) == b"\x34\x12"


def test_client_that_does_not_read_its_replies_does_not_stop_the_server(client: Client, serving: Serving) -> None:
    request = client.pack(9, struct.pack("<QII", 0, 0, 4096))
    client.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.sock.sendall(request * 1_000_000)
    client.close()
    assert Client(serving.path).read(7, 0, 2) == b"\x34\x12"


def test_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path, device: Doorbell) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(path))
    serving = Serving(path, device)
    with pytest.raises(OSError, match="in use"):
        Serving(path, Doorbell())
    assert Client(path).read(7, 0, 2) == b"\x34\x12"
    serving.stop()
    assert not path.exists()


def test_range_that_is_taken_back_takes_all_mappings_inside(device: Doorbell, client: Client) -> None:
    fd = memory_file(16 * 4096)
    for number in range(4):
        client.map(0x10000 + number * 0x2000, 0x1000, fd, number * 0x1000)
    assert len(device.dma) == 4
    answer = client.call(3, struct.pack("<IIQQ", 24, 0, 0x11000, 0x4000))
    assert struct.unpack_from("<QQ", answer, 8) == (0x11000, 0x2000), "two of them, a page each"
    assert len(device.dma) == 2
    for address, is_there in ((0x10000, True), (0x12000, False), (0x14000, False), (0x16000, True)):
        assert (device.dma.view(address, 8) is not None) is is_there
    # The whole lower half, as QEMU takes back what was behind an IOMMU; then it may be given again.
    client.unmap(0, 1 << 63)
    assert len(device.dma) == 0
    client.map(0x10000, 0x8000, fd)
    os.close(fd)


def test_range_with_no_mapping_is_taken_back_without_complaint(device: Doorbell, client: Client) -> None:
    changes: list[None] = []
    device.dma.on_change(lambda: changes.append(None))
    client.unmap(0x100000000, 0x100000000)
    assert not changes, "nobody has to let go of anything"
    for address, size in ((0, 0), ((1 << 64) - 4096, 8192)):
        with pytest.raises(Refused):
            client.unmap(address, size)


def test_part_of_a_mapping_is_taken_back_and_the_rest_stays(device: Doorbell, client: Client) -> None:
    fd = memory_file(4 * 4096)
    os.pwrite(fd, b"firstone", 0)
    os.pwrite(fd, b"lastone.", 3 * 4096)
    client.map(0x10000, 0x4000, fd)
    client.unmap(0x11000, 0x2000)
    assert device.dma.read(0x10000, 8) == b"firstone"
    assert device.dma.read(0x13000, 8) == b"lastone."
    for address in (0x11000, 0x12FF8, 0x10FFC, 0x12FFC):
        with pytest.raises(DmaError):
            device.dma.read(address, 8)
    device.dma.write(0x13000, b"new")
    assert os.pread(fd, 3, 3 * 4096) == b"new"
    client.map(0x11000, 0x2000, fd, 0x1000)
    client.unmap(0x10000, 0x4000)
    assert len(device.dma) == 0
    os.close(fd)


def test_memory_without_a_descriptor_is_told_once(
    client: Client, device: Doorbell, caplog: pytest.LogCaptureFixture
) -> None:
    client.map(0, 1 << 20, None)
    client.map(1 << 20, 1 << 20, None)
    told = [message for message in caplog.messages if "without a descriptor" in message]
    assert len(told) == 1
    assert "share=on" in told[0]


def test_command_of_a_client_that_cannot_answer_before_it_is_served(
    serving: Serving, device: Doorbell, client: Client
) -> None:
    """QEMU: the processor that waits for a register holds the lock that the thread needs which reads memory for us."""
    memory = bytearray(4096)
    memory[0x20:0x28] = b"MESSAGES"
    client.map(0x8000, 4096, None)
    client.sock.send(client.posted(0, 0x100, (0x8020).to_bytes(8, "little")))
    time.sleep(0.05)
    client.sock.send(client.pack(9, struct.pack("<QII", 7, 0, 4)))
    held = []
    while True:
        number, command, size, flags, _ = HEADER.unpack(client._exactly(16))
        body = client._exactly(size - 16)
        if flags & 0xF:
            assert command == 9
            break
        held.append((number, command, body))
    for number, command, body in held:
        client.memory[0x8000] = memory
        client._serve(number, command, body)
    deadline = time.monotonic() + 5
    while memory[0x120:0x128] != b"MESSAGES":
        assert time.monotonic() < deadline
        client.read(0, 0, 1)
    assert device.failures == 0
