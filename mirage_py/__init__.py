# SPDX-License-Identifier: MIT
"""mirage-py: MirageOS for Python, with PCIe. The tool; the library OS is in guest/libos."""

__version__ = "0.1.0"
