# SPDX-License-Identifier: MIT
"""The one kind of error that a user of the tool is meant to see."""

from __future__ import annotations

EXIT_FAILURE = 1
EXIT_USAGE = 2


class UserError(Exception):
    """Something that the user can put right.

    cause: what is wrong, as one clause without a full stop, naming the file, device, key or tool concerned.
    remedy: what to do about it, as one clause; may be empty when the cause says it all.
    exit_code: the exit status of the command, 1 unless the caller knows better.

    The command line prints `mirage-py: error: CAUSE; REMEDY` on one line and exits with `exit_code`.
    """

    def __init__(self, cause: str, remedy: str = "", exit_code: int = EXIT_FAILURE) -> None:
        super().__init__(cause)
        self.cause = " ".join(cause.split())
        self.remedy = " ".join(remedy.split())
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}" if self.remedy else self.cause
