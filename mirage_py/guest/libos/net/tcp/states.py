# SPDX-License-Identifier: MIT
"""The states of a Connection (RFC 9293 section 3.3.2); from ESTABLISHED on they are synchronized.

LISTEN is a Listener, a passive SYN-RECEIVED a HalfOpen, and TIME-WAIT a TimeWait: its Connection is CLOSED already.
"""

CLOSED = 0
SYN_SENT = 1
SYN_RECEIVED = 2
ESTABLISHED = 3
CLOSE_WAIT = 4
FIN_WAIT_1 = 5
FIN_WAIT_2 = 6
CLOSING = 7
LAST_ACK = 8

NAMES = (
    "CLOSED",
    "SYN-SENT",
    "SYN-RECEIVED",
    "ESTABLISHED",
    "CLOSE-WAIT",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSING",
    "LAST-ACK",
)
