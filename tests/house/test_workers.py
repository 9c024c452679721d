# SPDX-License-Identifier: MIT
"""`make test` runs on two workers: tests of one group share one of them, or machines and stopwatches collide."""

import os
import subprocess
import sys

TESTS = """
import os
import pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_grouped(number):
    with open(os.environ["WORKERS"], "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_tests_of_a_group_run_on_one_worker(tmp_path):
    file, workers = tmp_path / "test_groups.py", tmp_path / "workers"
    file.write_text(TESTS)
    # Or one that lies in a folder above is taken, which may ask for plugins.
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", str(file)]
    # Nothing but xdist: what else is installed takes most of the time.
    command += ["-p", "xdist.plugin", "-p", "xdist.looponfail"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment, "WORKERS": str(workers), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(set(workers.read_text().split())) == 1
    assert len(workers.read_text().split()) == 8
