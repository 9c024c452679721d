# SPDX-License-Identifier: MIT
"""Runs the module that the first boot argument names."""

import _mirage

__import__(_mirage.args()[0])
