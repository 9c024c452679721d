# SPDX-License-Identifier: MIT
"""The system's sockets, as a service of the event loop."""


class Sockets:
    """Made once."""
