# SPDX-License-Identifier: MIT
"""The namespaces themselves: nothing leads outside, nothing stays, whatever happened in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop import marks
from tests.interop.network import PREFIX, Namespace, Network, remove_stale, wait_until

pytestmark = marks.UNIX


def test_no_namespace_has_a_default_route() -> None:
    with Network(routed=True) as network:
        for namespace in (network.near, network.far):
            for version in ("-4", "-6"):
                assert "default" not in namespace.run("ip", version, "route", check=True).stdout


def test_failure_inside_takes_namespace_and_processes_down(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Namespace() as namespace:  # noqa: PT012
        process = namespace.popen(["sleep", "600"], tmp_path / "log")
        raise RuntimeError("as a test may")
    assert process.wait(5) == -9
    assert not Path("/run/netns", namespace.name).exists()


def test_what_a_killed_test_left_behind_is_removed_and_living_ones_are_not(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tests.interop.network import Namespace\n"
        "namespace = Namespace().__enter__()\n"
        "namespace.popen(['sleep', '600'], Path(sys.argv[1]))\n"
        "print(namespace.name, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "log"], capture_output=True, text=True, check=False)
    name = done.stdout.strip()
    assert name.startswith(PREFIX), done.stderr
    assert Path("/run/netns", name).exists()
    with Namespace() as ours:
        # Another worker may have been quicker.
        remove_stale()
        wait_until(lambda: not Path("/run/netns", name).exists(), 5, f"{name} is gone")
        assert Path("/run/netns", ours.name).exists()
