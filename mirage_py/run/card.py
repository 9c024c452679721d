# SPDX-License-Identifier: MIT
"""The emulated 82599 beside QEMU: a process of `mirage_py.nic`, and their sockets in a folder of its own."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path

from mirage_py.run.network import Network
from mirage_py.run.session import dies_with_us
from mirage_py.run.vfio_user import Sockets, model_command
from mirage_py.support.errors import UserError

START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 3.0


class Model:
    """A running model of the card that `network` is for; `wait_ready` before QEMU is started."""

    def __init__(self, network: Network) -> None:
        self.what = f"the emulated network card {network.card.name}"
        self.sockets = Sockets(Path(tempfile.mkdtemp(prefix="mirage-py-")))
        self._complaints = tempfile.TemporaryFile(prefix="mirage-py-")  # noqa: SIM115 (closed with us)
        self.process = subprocess.Popen(
            model_command(self.sockets, network),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
            preexec_fn=dies_with_us(),  # noqa: PLW1509 (no threads yet)
        )

    def wait_ready(self) -> None:
        """Wait until QEMU may be started. Raises UserError when the model does not come up."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_TIMEOUT_S)
        if not ready or b"ready" not in os.read(self.process.stdout.fileno(), 4096):
            raise UserError(f"{self.what} does not start: {self.why()}", "`mirage-py doctor` says what it needs")

    def why(self) -> str:
        """The last line that the model wrote to its standard error."""
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("mirage-py: error: ") if lines else "it said nothing"

    def close(self) -> None:
        """End the model, if it has not ended with QEMU, and remove its folder."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(END_TIMEOUT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        shutil.rmtree(self.sockets.folder, ignore_errors=True)
