# SPDX-License-Identifier: MIT
"""The Linux guest to compare with: Debian 12's cloud kernel, and an initramfs with Debian 13's micropython in it.

Everything comes from packages, once, into the cache. The guest does nothing but what the echo server needs: no
mounts, no udev, a static address, modules loaded in the order in which they depend on each other.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.cpio import Archive
from bench.packages import PackageError, Suite

KERNEL_SUITE, MICROPYTHON_SUITE = "bookworm", "trixie"
VERSION = 3  # of what is assembled here; a cache of another version is assembled again

# MicroPython's read(n) makes a buffer of n octets for each call: small reads are cheap for short messages, large ones
# for bulk. The port chooses, so that the table can show both.
READ_BYTES = {7: 4096, 8: 65536}

PAGE_BYTES = 100_000

SERVER = """\
import asyncio
import tls

PAGE = b"." * PAGE_BYTES


def echo(size):
    async def handle(reader, writer):
        while True:
            data = await reader.read(size)
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    return handle


async def page(reader, writer):
    # Any request is answered with PAGE.
    try:
        while await reader.readline() not in (b"\\r\\n", b""):
            pass
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(PAGE))
        writer.write(PAGE)
        await writer.drain()
    except OSError:
        pass
    writer.close()
    await writer.wait_closed()


async def main():
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    with open("/certificate.der", "rb") as chain, open("/key.der", "rb") as key:
        context.load_cert_chain(chain.read(), key.read())
    await asyncio.start_server(page, "0.0.0.0", 443, backlog=128, ssl=context)
    for port, size in SIZES.items():
        server = await asyncio.start_server(echo(size), "0.0.0.0", port, backlog=128)
    print("listening on tcp port 7")
    await server.wait_closed()


asyncio.run(main())
"""

INIT = """\
#!/bin/busybox sh
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox ifconfig lo 127.0.0.1 up
/bin/busybox ifconfig eth0 $ip netmask 255.255.255.0 up
exec /bin/ld.so --library-path /lib /bin/micropython /server.py
"""

MODULES = (
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
)
BOOT_ARGUMENTS = "console=ttyS0 quiet random.trust_cpu=on mitigations=off panic=-1"


@dataclass(frozen=True)
class LinuxGuest:
    """The assembled guest: files to boot, and what they were made of."""

    kernel: str
    initrd: str
    kernel_version: str
    micropython_version: str

    def describe(self) -> str:
        """One line for the table's caption."""
        return f"Linux {self.kernel_version} (Debian cloud kernel), micropython {self.micropython_version} (Debian 13)"

    def size_bytes(self) -> tuple[int, int]:
        """Sizes of kernel and initramfs."""
        return Path(self.kernel).stat().st_size, Path(self.initrd).stat().st_size


def _libraries(binary: Path, folder: Path) -> list[Path]:
    """The shared libraries in `folder` that `binary` loads, by asking the loader there."""
    loader = folder / "ld-linux-x86-64.so.2"
    listed = subprocess.run(
        [str(loader), "--library-path", str(folder), "--list", str(binary)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    return [Path(line.split("=>")[1].split()[0]) for line in listed.splitlines() if "=> /" in line]


def _certificate() -> tuple[bytes, bytes]:
    """A certificate and its key, P-256, DER. PackageError where there is no openssl."""
    with tempfile.TemporaryDirectory() as folder:
        key, chain = Path(folder) / "key", Path(folder) / "certificate"
        make = ["openssl", "req", "-x509", "-nodes", "-days", "3650", "-subj", "/CN=bench.test", "-outform", "DER"]
        make += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", str(key), "-out", str(chain)]
        convert = ["openssl", "ec", "-in", str(key), "-outform", "DER"]
        try:
            subprocess.run(make, capture_output=True, timeout=30, check=True)
            der = subprocess.run(convert, capture_output=True, timeout=30, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise PackageError(f"openssl: {error}") from None
        return chain.read_bytes(), der


def initramfs(system: Path, modules: Path, micropython: Path) -> bytes:
    """The archive. system: where busybox was unpacked; modules: lib/modules/VERSION/kernel; micropython: its root."""
    archive = Archive()
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3)
    archive.device("dev/urandom", 1, 9)
    for name in MODULES:
        archive.file(f"modules/{Path(name).name}.ko", (modules / f"{name}.ko").read_bytes())
    names = " ".join(Path(name).name for name in MODULES)
    archive.file("init", INIT.format(modules=names).encode(), 0o755)
    archive.file("server.py", f"SIZES = {READ_BYTES}\nPAGE_BYTES = {PAGE_BYTES}\n{SERVER}".encode())
    chain, key = _certificate()
    archive.file("certificate.der", chain)
    archive.file("key.der", key)
    archive.file("bin/busybox", (system / "bin" / "busybox").read_bytes(), 0o755)
    folder = micropython / "usr" / "lib" / "x86_64-linux-gnu"
    binary = micropython / "usr" / "bin" / "micropython"
    archive.file("bin/micropython", binary.read_bytes(), 0o755)
    archive.file("bin/ld.so", (folder / "ld-linux-x86-64.so.2").read_bytes(), 0o755)
    for library in _libraries(binary, folder):
        archive.file(f"lib/{library.name}", library.read_bytes())
    return archive.finish()


def assemble(cache: Path) -> LinuxGuest:
    """The guest out of the cache, or made anew from packages (which needs a network).

    Raises PackageError when apt cannot bring the packages.
    """
    folder = cache / "bench" / "linux-guest"
    record = folder / "guest.json"
    if record.exists():
        known = json.loads(record.read_text())
        if known.pop("version") == VERSION:
            return LinuxGuest(**known)
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / "work"
    kernels, pythons = Suite(KERNEL_SUITE, work / "apt-kernel"), Suite(MICROPYTHON_SUITE, work / "apt-micropython")
    kernels.update()
    pythons.update()
    image = kernels.dependency("linux-image-cloud-amd64", "linux-image-")
    kernel_version = kernels.unpack(image, work / "system")
    kernels.unpack("busybox-static", work / "system")
    micropython_version = pythons.unpack("micropython", work / "micropython", closure=True)
    release = image.removeprefix("linux-image-")
    kernel = folder / "vmlinuz"
    shutil.copyfile(work / "system" / "boot" / f"vmlinuz-{release}", kernel)
    modules = work / "system" / "lib" / "modules" / release / "kernel"
    initrd = folder / "initramfs.gz"
    initrd.write_bytes(gzip.compress(initramfs(work / "system", modules, work / "micropython"), 9, mtime=0))
    guest = LinuxGuest(str(kernel), str(initrd), f"{release} ({kernel_version})", micropython_version)
    record.write_text(json.dumps({"version": VERSION, **asdict(guest)}, indent=1) + "\n")
    shutil.rmtree(work)
    return guest
