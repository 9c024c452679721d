# SPDX-License-Identifier: MIT
"""A Linux guest for the model: Debian's own kernel and ixgbe driver, a busybox initramfs, a shell on the serial line.

The packages come from apt without root (`apt-get download`) and stay in the cache. QEMU has to know vfio-user-pci
(10.1 or newer): the environment variable MIRAGE_QEMU names it, else the one in the path is tried.
"""

import functools
import gzip
import io
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mirage_py.run import machine
from mirage_py.support.errors import UserError
from tests.conftest import Guest
from tests.nic.packages import cached, missing, named

PACKAGES = ("busybox-static", "ethtool", "iperf3", "libiperf0", "libsctp1", "libssl3", "libc6", "libmnl0")
MODULES = ("dca", "xfrm_algo", "libphy", "mdio_devres", "mdio", "ixgbe")
LIBRARIES = ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libmnl.so.0")
LIBRARIES_IPERF = ("libiperf.so.0", "libsctp.so.1", "libssl.so.3", "libcrypto.so.3")
PROMPT = "guest# "
INIT = f"""#!/bin/sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
echo 1 > /proc/sys/kernel/printk
ip link set lo up
export PATH=/bin PS1='{PROMPT}'
stty -echo
exec setsid cttyhack sh
"""


def qemu_with_vfio_user() -> str:
    """The path of a QEMU that has the vfio-user client: MIRAGE_QEMU, else the one that `mirage-py run` would take."""
    try:
        return machine.qemu_for_model(os.environ.get("MIRAGE_QEMU"))
    except UserError as error:
        missing(str(error))
        raise AssertionError from error


def packages() -> Path:
    """Debian's kernel and the programs of the guest."""
    kernel = named(r"(linux-image-[^ ,]+)")
    return cached("linux-guest", "a Linux guest for the tests", ("linux-image-amd64", *PACKAGES), kernel)


class Cpio:
    """A newc archive, as the kernel unpacks it."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._inode = 0

    def add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self._pad()
        self._out.write(data)
        self._pad()

    def _pad(self) -> None:
        self._out.write(bytes(-self._out.tell() % 4))

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return gzip.compress(self._out.getvalue(), 1)


def find(root: Path, name: str) -> Path:
    """A program, library or module of the packages: not a document or a start-up script of the same name."""
    found = (path for path in sorted(root.rglob(name)) if path.is_file())
    return next(
        path for path in found if path.parent.name in ("bin", "sbin", "x86_64-linux-gnu") or path.suffix == ".ko"
    )


@functools.cache
def initramfs(
    root: Path,
    programs: Sequence[str] = ("ethtool", "iperf3"),
    modules: Sequence[str] = MODULES,
    extra: Sequence[tuple[str, Path]] = (),
) -> bytes:
    """programs: from the packages in `root`, with iperf3's libraries; extra: (path without the first /, file)."""
    archive = Cpio()
    for directory in ("bin", "dev", "proc", "sys", "lib", "lib64", "lib/x86_64-linux-gnu", "modules", "tmp", "etc"):
        archive.add(directory, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("init", stat.S_IFREG | 0o755, INIT.encode())
    archive.add("bin/busybox", stat.S_IFREG | 0o755, find(root, "busybox").read_bytes())
    archive.add("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    for program in programs:
        archive.add(f"bin/{program}", stat.S_IFREG | 0o755, find(root, program).read_bytes())
    for library in (*LIBRARIES, *(LIBRARIES_IPERF if "iperf3" in programs else ())):
        archive.add(f"lib/x86_64-linux-gnu/{library}", stat.S_IFREG | 0o755, find(root, library).read_bytes())
    archive.add("lib64/ld-linux-x86-64.so.2", stat.S_IFLNK | 0o777, b"/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    for module in modules:
        archive.add(f"modules/{module}.ko", stat.S_IFREG | 0o644, find(root, f"{module}.ko").read_bytes())
    folders = {str(parent) for name, _ in extra for parent in Path(name).parents} - {"."}
    for folder in sorted(folders):
        archive.add(folder, stat.S_IFDIR | 0o755)
    for name, path in extra:
        archive.add(name, stat.S_IFREG | 0o755, path.read_bytes())
    return archive.finish()


class LinuxGuest:
    """A running guest with a model for each backend; `run` executes a command in its shell."""

    def __init__(
        self,
        spawn: Callable[[Sequence[str]], Guest],
        directory: Path,
        backends: Sequence[str],
        model_arguments: Sequence[str] = (),
        append: str = "",
        qemu_arguments: Sequence[str] = (),
        model_prefix: Sequence[str] = (),
        programs: tuple[str, ...] = ("ethtool", "iperf3"),
        modules: tuple[str, ...] = MODULES,
        extra: tuple[tuple[str, Path], ...] = (),
        has_iommu: bool = False,
    ) -> None:
        qemu = qemu_with_vfio_user()
        root = packages()
        image = directory / "initramfs.gz"
        image.write_bytes(initramfs(root, programs, modules, extra))
        kernel = next((root / "boot").glob("vmlinuz-*"))
        sockets = [directory / f"nic{number}" for number in range(len(backends))]
        self.control = directory / "control"
        argv = [*model_prefix, sys.executable, "-m", "mirage_py.nic", "--control", str(self.control), "--log", "info"]
        for path, backend in zip(sockets, backends, strict=True):
            argv += ["--socket", str(path), "--backend", backend]
        self.model = spawn([*argv, *model_arguments])
        self.model.expect("ready", 30)
        argv = [qemu, "-machine", "q35,memory-backend=mem", "-accel", "tcg", "-cpu", "max", "-m", "512M"]
        argv += ["-object", "memory-backend-memfd,id=mem,size=512M,share=on", "-nodefaults", "-no-user-config"]
        argv += ["-no-reboot", "-display", "none", "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(image)]
        if has_iommu:
            argv[2] += ",kernel-irqchip=split"
            argv += ["-device", "intel-iommu,caching-mode=on,intremap=off,aw-bits=48"]
            append += " intel_iommu=on"
        argv += ["-append", f"console=ttyS0 quiet panic=-1 {append}"]
        for path in sockets:
            device = f'{{"driver":"vfio-user-pci","socket":{{"path":"{path}","type":"unix"}},"rombar":0}}'
            argv += ["-device", device]
        self.guest = spawn([*argv, *qemu_arguments])
        self._read = 0
        self._prompt(120)
        for module in modules:
            self.check(f"insmod /modules/{module}.ko", 60)

    def _prompt(self, timeout: float) -> str:
        """Waits for the next prompt; returns what came before it."""
        deadline = time.monotonic() + timeout
        while True:
            output = self.guest.output
            end = output.find(PROMPT, self._read)
            if end >= 0:
                text = output[self._read : end]
                self._read = end + len(PROMPT)
                return text.replace("\r", "")
            if time.monotonic() > deadline or self.guest.process.poll() is not None:
                raise AssertionError(
                    f"no prompt after {timeout} s:\n{output[-4000:]}\nmodel:\n{self.model.output[-4000:]}"
                )
            time.sleep(0.02)

    def finish(self, timeout: float = 30) -> str:
        """Waits for the end of a program that was typed into the shell; its output."""
        return self._prompt(timeout)

    def run(self, command: str, timeout: float = 30) -> tuple[int, str]:
        """Runs a line in the guest's shell; its exit code and output."""
        self.guest.type(f'{command}; echo "=$?="\n'.encode())
        text = self._prompt(timeout)
        body, _, code = text.rstrip().rpartition("=")[0].rpartition("=")
        return int(code), body

    def check(self, command: str, timeout: float = 30) -> str:
        """Runs a line that must succeed."""
        code, text = self.run(command, timeout)
        assert code == 0, f"{command}: exit code {code}\n{text}\nmodel:\n{self.model.output[-3000:]}"
        return text
