# SPDX-License-Identifier: MIT
"""Which neighbours are there, as TCP knows it: a connection through them went forward (RFC 4861 section 7.3.1).

When an entry of the neighbour table gets stale, each connection looks its way up again with the next segment
(`segments.refresh_route`). Then it is noted how far it had come, and nothing is done for the segments that follow: the
table asks, five seconds later, before it would send a probe.
"""

# The latest connection to look up its way, for each value of the ports' lowest bits: those of ten thousand that talk
# are among them, and none is searched for. Who is not costs a probe.
_SLOTS = 32


class Progress:
    """Of up to 32 connections how far they were when they last looked up their way."""

    def __init__(self):
        self.slots = [None] * _SLOTS

    def begin(self, conn, generation):
        """From now on `conn` sends with the MAC that the neighbour table had in this generation."""
        self.slots[_slot(conn)] = (conn, generation, conn.snd_nxt, conn.rcv_adv)

    def forget(self, conn):
        """The connection ended."""
        slot = _slot(conn)
        noted = self.slots[slot]
        if noted is not None and noted[0] is conn:
            self.slots[slot] = None

    def is_seen(self, ip, hop, generation):
        """True when what was sent through the neighbour `hop` of a layer has arrived, since `generation` or later.

        Either it was acknowledged; or data came from beyond the window of then, so that an acknowledgement of ours was
        received (any new data would show nothing: it may have been on its way before the neighbour went; a FIN may
        stand right behind the window).
        """
        for noted in self.slots:
            if noted is None:
                continue
            conn, since, snd_nxt, rcv_adv = noted
            if since >= generation and (conn.snd_una > snd_nxt or conn.rcv_nxt > rcv_adv + 1):
                if conn.ip is ip and ip.next_hop(conn.remote_ip) == hop:
                    return True
        return False


def _slot(conn):
    return (conn.remote_port ^ conn.local_port) % _SLOTS
