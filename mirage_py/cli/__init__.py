# SPDX-License-Identifier: MIT
"""The commands: they parse and print, and decide nothing."""
