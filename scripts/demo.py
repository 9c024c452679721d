# SPDX-License-Identifier: MIT
"""`make demo`: what a newcomer would type, typed for them, with the answers shown.

Configures a copy of examples/echo for hvt in build/demo, builds it, boots it in QEMU through `mirage-py run` (user-mode
network, no privileges), sends bytes from the host, shows them coming back, and stops the machine.
"""

import os
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "demo"
BUILD_TIMEOUT_S = 900
BOOT_TIMEOUT_S = 120
ECHO_TIMEOUT_S = 30
STOP_TIMEOUT_S = 30
LISTENING = b"listening on tcp port 7007"
MESSAGES = [b"Hello, unikernel!\n", "Grüße aus dem Wirt\n".encode(), bytes(range(256)) * 400]


def fail(message: str) -> None:
    sys.exit(f"demo: error: {message}")


def tool() -> dict[str, str]:
    """The environment of a shell, in which `mirage-py` is the one of this checkout."""
    # Without what the make that started us tells another make.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment


def show(command: list[str]) -> None:
    print(f"$ {shlex.join(command)}", flush=True)


def do(command: list[str]) -> None:
    """Runs a command in the demo's folder, as a user would see it."""
    show(command)
    code = subprocess.run(
        command, cwd=FOLDER, env=tool(), stdin=subprocess.DEVNULL, timeout=BUILD_TIMEOUT_S, check=False
    ).returncode
    if code != 0:
        fail(f"{command[0]} ended with exit code {code}")


def free_port() -> int:
    """A TCP port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_listening(machine: subprocess.Popen[bytes]) -> None:
    """Shows the console until the guest says that it listens."""
    assert machine.stdout is not None
    console = b""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    with selectors.DefaultSelector() as selector:
        selector.register(machine.stdout, selectors.EVENT_READ)
        while LISTENING not in console:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                fail(f"the guest did not listen within {BOOT_TIMEOUT_S} s")
            data = os.read(machine.stdout.fileno(), 65536)
            if not data:
                fail(f"the machine ended with exit code {machine.wait()} before it listened")
            console += data
            sys.stdout.buffer.write(data)
            sys.stdout.flush()


def shown(message: bytes) -> str:
    """A message as it fits on a line."""
    return message.decode().rstrip() if len(message) < 100 else f"{len(message):,} bytes"


def talk(port: int) -> None:
    """Sends each message and checks that it comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=ECHO_TIMEOUT_S) as connection:
        for message in MESSAGES:
            started = time.monotonic()
            # Beside reading: a message may be longer than all buffers on the way.
            sender = threading.Thread(target=connection.sendall, args=(message,), daemon=True)
            sender.start()
            answer = b""
            while len(answer) < len(message):
                data = connection.recv(65536)
                if not data:
                    fail("the guest closed the connection")
                answer += data
            sender.join(ECHO_TIMEOUT_S)
            elapsed_ms = (time.monotonic() - started) * 1000
            if answer != message:
                fail("what came back is not what was sent")
            print(f"  sent {shown(message)}\n  back {shown(answer)} after {elapsed_ms:.1f} ms", flush=True)


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for path in sorted((ROOT / "examples" / "echo").glob("*.py")):
        shutil.copy(path, FOLDER)
    print(f"An echo server as a bootable image, in {FOLDER}\n")
    do(["mirage-py", "configure", "-t", "hvt"])
    do(["make"])
    port = free_port()
    command = ["mirage-py", "run", "--publish", f"{port}:7007"]
    show(command)
    machine = subprocess.Popen(
        command, cwd=FOLDER, env=tool(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_for_listening(machine)
        print(f"\n# a client on the host, 127.0.0.1:{port}")
        talk(port)
        print("\n# Ctrl-C")
        machine.send_signal(signal.SIGINT)
        machine.wait(STOP_TIMEOUT_S)
    finally:
        if machine.poll() is None:
            machine.terminate()
            try:
                machine.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                machine.kill()
    print("The machine is stopped. Next: README.md, docs/, and `mirage-py --help`.")


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.TimeoutExpired) as error:
        fail(str(error))
