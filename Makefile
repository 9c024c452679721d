# SPDX-License-Identifier: MIT
# Everything about this checkout. `make demo` and `make test` set up what they need; a second run finds it done.

PYTHON := .venv/bin/python
# Timing-sensitive tests and machines share one of the workers (tests/conftest.py). Tests that call make are no part of
# this one.
PYTEST := env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS $(PYTHON) -m pytest -n 2 --dist loadgroup
# What make check leaves out: it is for while one works, and takes less than two minutes.
FAST := not (slow or nightly or qemu or tap or build)

.PHONY: help setup test-setup demo test check bench nightly wheel clean distclean
.DELETE_ON_ERROR:

help:
	@echo "make demo     set up, build examples/echo for hvt, boot it, talk to it"
	@echo "make test     set up, run the whole suite"
	@echo "make check    formatting, lint, types, the fast tests"
	@echo "make bench    measure, against a Linux guest, sockets and virtio-net"
	@echo "make nightly  the tests that take minutes each"
	@echo "make wheel    dist/*.whl"
	@echo "make clean    remove what the above made (distclean: .venv too)"

setup: .setup/packages .setup/venv .setup/sources
# What `make demo` has no need of: servers, clients, a debugger.
test-setup: .setup/test-packages setup .setup/test-sources

.setup/packages: scripts/apt-packages.txt scripts/setup.sh
	@scripts/setup.sh packages
	@touch $@

.setup/test-packages: scripts/apt-packages-tests.txt scripts/setup.sh | .setup/packages
	@scripts/setup.sh packages apt-packages-tests
	@touch $@

.setup/venv: pyproject.toml scripts/constraints.txt scripts/setup_venv.py | .setup/packages
	@scripts/setup.sh venv
	@touch $@

# Checked each time, which takes no time: the cache is the user's, and may have been emptied.
.PHONY: .setup/sources
.setup/sources: | .setup/venv
	@$(PYTHON) -m mirage_py.build.sources

# And what images with cryptography are made from.
.PHONY: .setup/test-sources
.setup/test-sources: | .setup/venv
	@$(PYTHON) -m mirage_py.build.sources --all

demo: setup
	@$(PYTHON) scripts/demo.py

test: test-setup
	@MIRAGE_PY_REQUIRE_ALL=1 MIRAGE_PY_FUZZ_PROTOCOL_SECONDS=60 $(PYTEST) -m "not nightly"

check: test-setup
	@$(PYTHON) -m ruff format --check --quiet --output-format=concise . || { echo "run: $(PYTHON) -m ruff format ."; exit 1; }
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m mypy
	@MIRAGE_PY_FUZZ_SECONDS=0.5 $(PYTEST) -q -m "$(FAST)"

bench: test-setup
	@$(PYTHON) -m bench

nightly: test-setup
	@MIRAGE_PY_REQUIRE_ALL=1 $(PYTEST) -m nightly --timeout=3600

wheel: setup
	@$(PYTHON) -m hatchling build -t wheel

clean:
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -path ./.venv -prune -o -name __pycache__ -type d -print | xargs -r rm -rf

distclean: clean
	@rm -rf .venv .setup
