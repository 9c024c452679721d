# SPDX-License-Identifier: MIT
"""What everybody stands on: errors, paths, the cache, processes, progress, packages of another Debian."""
