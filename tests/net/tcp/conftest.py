# SPDX-License-Identifier: MIT
"""A host and scripted peers of it over IPv4, and the same over IPv6."""

import pytest

from libos.wire import tcp
from tests.net.peer import IP, IP6, Peer


class Ends:
    """host: listens on port 7; an application that reads nothing unless told to."""

    def __init__(self, world, address, **options):
        self.world = world
        self.host = world.host(address, **options)
        self.host.listen(7, reads=False)
        self.ip = IP6 if ":" in address else IP
        self.overhead = (40 if ":" in address else 20) + 20

    def peer(self, **options):
        return Peer(self.world, self.host, ip=self.ip, **options)

    def connected(self, options=b"", **how):
        """A peer, its SYN-ACK in .answer, and the host's Flow in .flow."""
        peer = self.peer()
        peer.answer = peer.connect(options=options, **how)
        peer.flow = self.host.accepted[-1]
        return peer

    def stamped(self, **how):
        """The same with timestamps, which began at 1."""
        return self.connected(tcp.syn_options(1000, 7, True, 1), **how)

    def calling(self, port=80):
        """A peer that the host connects to, before its answer; the connection is .conn."""
        peer = self.peer(port=port, to=0)
        name = "fd00::9" if self.overhead == 60 else "10.0.0.9"
        peer.conn = self.host.tcp.connect(name, port, self.world.now_ms)
        peer.to = peer.conn.local_port
        self.world.settle()
        return peer

    def close_window(self, peer):
        """Fills the host's receive window exactly."""
        conn = peer.flow.conn
        while conn.rcv_adv > conn.rcv_nxt:
            peer.send(tcp.ACK, data=bytes(min(1400, conn.rcv_adv - conn.rcv_nxt)), options=self.stamp(peer))
        self.world.run(for_ms=50)
        assert peer.take()[-1].window == 0

    def stamp(self, peer, value=1):
        """A timestamps option, where the peer has agreed to them."""
        return b"" if peer.answer.ts_val is None else tcp.timestamps_option(value, peer.answer.ts_val)

    def count(self, name):
        return self.host.tcp.counters[name]


@pytest.fixture(params=["10.0.0.2/24", "fd00::2/64"], ids=["IPv4", "IPv6"])
def ends(request, world):
    return Ends(world, request.param)
