# SPDX-License-Identifier: MIT
"""The states of RFC 9293 section 3.3.2. LISTEN is a Listener, TIME_WAIT a TimeWait, a passive SYN_RECEIVED a HalfOpen.

They are in this order: everything from ESTABLISHED on is synchronized.
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
TIME_WAIT = 9

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
    "TIME-WAIT",
)
