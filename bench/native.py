# SPDX-License-Identifier: MIT
"""The two unix builds beside each other, in a network namespace that is made for this process and goes with it.

    unshare --net python -m bench.native CLIENT DIRECT SOCKET ROUNDS ECHOES MEGABYTES

prints one JSON object: for each build its echoes/s and its MB/s, one number a round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.machine import LISTENING, GuestError, run_client

GUEST, HOST, TAP = "10.0.0.2", "10.0.0.1", "tap0"
START_TIMEOUT_S = 30.0
PAYLOAD_BYTES = 64
BLOCK_BYTES = 65536
PLACES = {"direct": (GUEST, ["--interface", TAP, "--ipv4", f"{GUEST}/24"]), "socket": ("127.0.0.1", [])}


def prepare() -> None:
    """A loopback and a TAP, in this process's own network namespace."""
    for line in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "tuntap", "add", TAP, "mode", "tap", "vnet_hdr"],
        ["ip", "address", "add", f"{HOST}/24", "dev", TAP],
        ["ip", "link", "set", TAP, "up"],
    ):
        subprocess.run(line, check=True, timeout=START_TIMEOUT_S)


@contextmanager
def serving(binary: Path, arguments: list[str]) -> Iterator[None]:
    """The server, once it says that it listens."""
    process = subprocess.Popen(
        [str(binary), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        said, deadline = b"", time.monotonic() + START_TIMEOUT_S
        while LISTENING not in said:
            said += process.stdout.read() or b""
            if process.poll() is not None or time.monotonic() > deadline:
                raise GuestError(f"{binary} does not listen: {said.decode(errors='replace').strip()[-200:]}")
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait(START_TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()


def measure(client: Path, binaries: dict[str, Path], rounds: int, echoes: int, megabytes: int) -> dict[str, object]:
    """Both builds, alternating."""
    results: dict[str, dict[str, list[float]]] = {name: {"echoes": [], "bulk": []} for name in binaries}
    blocks = megabytes * 1_000_000 // BLOCK_BYTES
    for _ in range(rounds):
        for name, binary in binaries.items():
            host, arguments = PLACES[name]
            with serving(binary, arguments):
                run_client(client, host, 7, "echoes", str(echoes // 10), str(PAYLOAD_BYTES))
                took_s = run_client(client, host, 7, "echoes", str(echoes), str(PAYLOAD_BYTES))
                results[name]["echoes"].append(echoes / took_s)
                took_s = run_client(client, host, 7, "bulk", str(blocks), str(BLOCK_BYTES))
                results[name]["bulk"].append(blocks * BLOCK_BYTES / 1e6 / took_s)
    return dict(results)


def main() -> None:
    """What the bench runs inside the namespace."""
    client, direct, sockets = map(Path, sys.argv[1:4])
    try:
        prepare()
        results = measure(client, {"direct": direct, "socket": sockets}, *map(int, sys.argv[4:7]))
    except (OSError, subprocess.CalledProcessError):
        sys.exit("no TAP device can be made here")
    except GuestError as error:
        sys.exit(str(error))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
