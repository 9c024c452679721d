# SPDX-License-Identifier: MIT
"""Measurements beside a Linux guest, in one alternating run on one machine: `make bench`, or `python -m bench`."""
