# SPDX-License-Identifier: MIT
"""What a client raises: which step of a request failed, and why."""

from errno import (
    ECONNABORTED,
    ECONNREFUSED,
    ECONNRESET,
    EHOSTUNREACH,
    EIO,
    ENETUNREACH,
    ENOMEM,
    EPIPE,
    ETIMEDOUT,
)

_REASONS = {
    ECONNABORTED: "the connection was closed here",
    ECONNREFUSED: "the connection was refused",
    ECONNRESET: "the connection was reset by the other side",
    EHOSTUNREACH: "the host cannot be reached",
    ENETUNREACH: "the network cannot be reached",
    EPIPE: "the other side has closed the connection",
    ETIMEDOUT: "timed out",
}


# Alerts with which servers refuse clients (RFC 8446 section 6.2).
_ALERTS = {
    40: "handshake_failure",
    42: "bad_certificate",
    45: "certificate_expired",
    46: "certificate_unknown",
    48: "unknown_ca",
    49: "access_denied",
    70: "protocol_version",
    80: "internal_error",
    112: "unrecognized_name",
    116: "certificate_required",
    120: "no_application_protocol",
}


class TransferError(OSError):
    """step: "name", "pool", "connect", "proxy", "tls", "send", "head", "body", "decode", "redirect" or "websocket".

    reason: one line for people; errno: ETIMEDOUT where a step took too long, the connection's own where that failed,
    EIO for what the other side did wrong.
    """

    def __init__(self, number, step, reason):
        super().__init__(number, reason)
        self.step = step
        self.reason = reason

    def __str__(self):
        return "%s: %s" % (self.step, self.reason)


def failed(step, error):
    """The TransferError of what a flow, a resolver or TLS raised."""
    if isinstance(error, TransferError):
        return error
    alert = getattr(error, "alert", None)
    if alert is not None:
        # TLS failed, in its handshake or later.
        reason = error.reason
        if error.is_remote:
            reason = "the server refuses: %s (alert %d)" % (_ALERTS.get(alert, "it does not say why"), alert)
        return TransferError(EIO, "tls", reason)
    number = error.args[0] if error.args and isinstance(error.args[0], int) else EIO
    reason = _REASONS.get(number)
    if reason is None or len(error.args) > 1:
        reason = str(error)
    return TransferError(number, step, reason)


def wrong(step, reason):
    """The other side did what it must not."""
    return TransferError(EIO, step, reason)


def timed_out(step):
    return TransferError(ETIMEDOUT, step, _REASONS[ETIMEDOUT])


def too_much(step, reason):
    """More than fits a limit of ours."""
    return TransferError(ENOMEM, step, reason)
