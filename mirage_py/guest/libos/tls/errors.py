# SPDX-License-Identifier: MIT
"""What ends a connection: an alert (RFC 8446 section 6, RFC 5246 section 7.2), and why."""

from micropython import const

CLOSE_NOTIFY = const(0)
UNEXPECTED_MESSAGE = const(10)
BAD_RECORD_MAC = const(20)
RECORD_OVERFLOW = const(22)
HANDSHAKE_FAILURE = const(40)
BAD_CERTIFICATE = const(42)
UNSUPPORTED_CERTIFICATE = const(43)
CERTIFICATE_REVOKED = const(44)
CERTIFICATE_EXPIRED = const(45)
CERTIFICATE_UNKNOWN = const(46)
ILLEGAL_PARAMETER = const(47)
UNKNOWN_CA = const(48)
ACCESS_DENIED = const(49)
DECODE_ERROR = const(50)
DECRYPT_ERROR = const(51)
PROTOCOL_VERSION = const(70)
INSUFFICIENT_SECURITY = const(71)
INTERNAL_ERROR = const(80)
INAPPROPRIATE_FALLBACK = const(86)
USER_CANCELED = const(90)
NO_RENEGOTIATION = const(100)
MISSING_EXTENSION = const(109)
UNSUPPORTED_EXTENSION = const(110)
UNRECOGNIZED_NAME = const(112)
UNKNOWN_PSK_IDENTITY = const(115)
CERTIFICATE_REQUIRED = const(116)
NO_APPLICATION_PROTOCOL = const(120)


class TlsError(OSError):
    """A connection that has failed.

    alert: the number that goes to the peer, or came from it. reason: for people, one line. is_remote: the peer sent the
    alert; else what the peer did, or what we were told to do, made us send it.
    """

    def __init__(self, alert, reason, is_remote=False):
        super().__init__(reason)
        self.alert = alert
        self.reason = reason
        self.is_remote = is_remote
