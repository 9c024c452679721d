# SPDX-License-Identifier: MIT
"""What is at the other end of the emulated wire."""
