# SPDX-License-Identifier: MIT
"""The marks of every file here: namespaces and TAPs need root, and the application is built first."""

import os

import pytest

BASE = [
    pytest.mark.tap,
    pytest.mark.build,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a namespace with a TAP needs root"),
]
# The unix build takes part of a processor for a moment: beside the worker with the machines.
UNIX = [*BASE, pytest.mark.xdist_group("interop")]
HVT = [*BASE, pytest.mark.qemu, pytest.mark.xdist_group("machine")]
