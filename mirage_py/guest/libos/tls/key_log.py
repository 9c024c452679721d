# SPDX-License-Identifier: MIT
"""Secrets of connections on the console, as Wireshark wants them (RFC 9850). Only for those who look for a fault."""


class KeyLog:
    """What a context calls for each line. console: has write(text)."""

    def __init__(self, console):
        self._console = console
        console.write("warning: the keys of TLS connections are written here: whoever has them can read all of it\n")

    def __call__(self, line):
        self._console.write(line + "\n")
