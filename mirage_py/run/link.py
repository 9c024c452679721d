# SPDX-License-Identifier: MIT
"""A wire between two guests that `mirage-py run` starts: two Unix datagram sockets, a frame to a datagram.

Whoever comes first takes end 0, the second end 1; a lock on a file beside the sockets says which ends are held, and
the kernel lets go of it with the process, whatever happens.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from mirage_py.support.errors import UserError

# sockaddr_un has room for 108 octets with the final zero (unix(7)).
SOCKET_PATH_MAX = 107
ENDS = 2


@dataclass(frozen=True)
class Link:
    """One end of the wire at `path`. lock: the descriptor that holds it, to be closed behind the guest; -1 for none."""

    path: Path
    end: int
    lock: int = -1

    @property
    def local(self) -> Path:
        """The socket of this end."""
        return _socket(self.path, self.end)

    @property
    def remote(self) -> Path:
        """The socket of the other end."""
        return _socket(self.path, 1 - self.end)


def _socket(path: Path, end: int) -> Path:
    return path.with_name(f"{path.name}.{end}")


def presumed(path: Path) -> Link:
    """What the first to come would get, for a dry run. Raises UserError for a path that cannot be one."""
    path = path.absolute()
    if not path.parent.is_dir():
        raise UserError(f"--link {path}: there is no such directory", "make it first")
    if len(os.fsencode(_socket(path, 0))) > SOCKET_PATH_MAX:
        raise UserError(f"--link {path}: too long for the path of a socket", "use a shorter one, as in /tmp/wire")
    return Link(path, 0)


def claim(path: Path) -> Link:
    """Take the first free end of the wire at `path`. Raises UserError when both are held, or it cannot be there."""
    path = presumed(path).path
    for end in range(ENDS):
        name = path.with_name(f"{path.name}.{end}.lock")
        try:
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UserError(f"--link {path}: {name}: {error.strerror}", "choose another path") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        return Link(path, end, lock)
    raise UserError(f"--link {path}: both ends are held", "a wire has two; give the third guest another path")
