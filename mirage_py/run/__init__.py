# SPDX-License-Identifier: MIT
"""Starting what was built: QEMU for hvt images, a process for unix binaries. The doors are in commands.py."""
