# SPDX-License-Identifier: MIT
"""The kinds of devices, a file for each. mirage_py.dsl offers to a config.py what is in here."""
