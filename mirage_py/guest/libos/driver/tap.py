# SPDX-License-Identifier: MIT
"""Linux's TAP interface with a vnet header, as a network device."""


class Tap:
    """A network device over the TAP interface `name` ("tap0"). dma: hal.dma.Dma."""

    def __init__(self, name, dma):
        self.name = name
        self.dma = dma
