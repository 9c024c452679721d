# SPDX-License-Identifier: MIT
"""From a config.py and the choices of its user to a plan of files: keys, device kinds, the graph, code generation."""
