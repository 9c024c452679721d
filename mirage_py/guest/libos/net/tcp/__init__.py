# SPDX-License-Identifier: MIT
"""TCP (RFC 9293). No I/O, no clock.

    engine      Tcp: tables, demultiplexing, header prediction; listen and connect
    connection  Connection: the state of one, and what the application calls
    input       a segment arrives at a connection (RFC 9293 section 3.10.7)
    output      what may be sent; segments: the one place where segments are written
    recovery    loss: acknowledgements, fast recovery, retransmission timeout
    scoreboard  what was reported, sent again, lost; rack: what is lost, by the times of sending
    tlp, undo   tail-loss probes; recoveries by mistake taken back
    plpmtud     the size that a path takes, found out by trying
    congestion  what congestion control has in common; cubic, newreno: the algorithms
    listener    listening ports and half-open connections; syncookies: those that nothing is remembered of
    timewait    what is left of a connection for two segment lifetimes
    counters, rto, isn, seq, states: what their names say

Sequence numbers are plain integers that never wrap inside the stack: `seq.unwrap` turns the 32 bits of a header into
the number next to one that we know, and `& 0xFFFFFFFF` turns it back.
"""

from libos.net.tcp.engine import Tcp as Tcp
