# SPDX-License-Identifier: MIT
"""The system's sockets, as a service of the event loop: readiness goes to whoever watches the descriptor."""

import _mirage

PROTO_TCP = 6
PROTO_UDP = 17

# For option(fd, which, value).
NO_DELAY = 1
KEEPALIVE_MS = 2
USER_TIMEOUT_MS = 3

_EVENTS_PER_POLL = 64


class Sockets:
    """Made once. The sock_ functions of the C module under their short names, and watch()."""

    def __init__(self):
        self.accept = _mirage.sock_accept
        self.connect = _mirage.sock_connect
        self.recv = _mirage.sock_recv
        self.send = _mirage.sock_send
        self.recvfrom = _mirage.sock_recvfrom
        self.sendto = _mirage.sock_sendto
        self.names = _mirage.sock_names
        self.error = _mirage.sock_error
        self.shutdown = _mirage.sock_shutdown
        self.option = _mirage.sock_option
        self.unacked = _mirage.sock_unacked
        self._watchers = {}  # descriptor -> object with on_events
        self._again = []  # watchers that had more to do than one call may
        self._retry_ms = None

    def listen_tcp(self, ip, port, backlog):
        """A listening descriptor; ip "" for every address of both families."""
        return _mirage.sock_listen(PROTO_TCP, ip, port, backlog)

    def listen_udp(self, ip, port):
        """A bound datagram descriptor."""
        return _mirage.sock_listen(PROTO_UDP, ip, port, 0)

    def watch(self, fd, watcher):
        """Calls watcher.on_events(events) when fd becomes readable (1), writable (2), or both, from now until close().

        Edge-triggered: after an event the watcher works until the system says that it would block.
        """
        self._watchers[fd] = watcher
        _mirage.sock_watch(fd, 3)

    def close(self, fd, abort=False):
        """abort: reset the connection and discard what was not sent."""
        self._watchers.pop(fd, None)
        _mirage.sock_close(fd, abort)

    def call_again(self, watcher):
        """on_events(1) of the watcher is called with the next poll: it stopped before the system would block."""
        self._again.append(watcher)

    def call_later(self, watcher, delay_ms):
        """The same after a while."""
        self._again.append(watcher)
        self._retry_ms = _mirage.now_ms() + delay_ms

    # --- the event loop's service ---

    def poll(self, now_ms):
        worked = False
        if self._again and (self._retry_ms is None or self._retry_ms <= now_ms):
            again = self._again
            self._again = []
            self._retry_ms = None
            for watcher in again:
                watcher.on_events(1)
            worked = True
        ready = _mirage.sock_ready
        watchers = self._watchers
        for _ in range(_EVENTS_PER_POLL):
            code = ready()
            if code < 0:
                return worked
            worked = True
            watcher = watchers.get(code >> 2)
            if watcher is not None:
                watcher.on_events(code & 3)
        return worked

    def next_deadline_ms(self):
        return self._retry_ms

    def arm(self):
        # What wait() has found and poll() has not taken ends the next wait() at once.
        return bool(self._again) and self._retry_ms is None

    def disarm(self):
        pass
