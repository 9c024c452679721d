# SPDX-License-Identifier: MIT
"""Whose fault it was: ours (LocalError) or the peer's (RemoteError)."""


class LocalError(ValueError):
    """We were told to send what HTTP does not allow; nothing of it has been sent."""


class RemoteError(Exception):
    """The peer sent what HTTP does not allow, or more than a limit.

    status: what a server answers it with (RFC 9110 section 15). reason: for people, one line, nothing of what the
    peer sent.
    """

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status
        self.reason = reason
