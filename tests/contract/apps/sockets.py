# SPDX-License-Identifier: MIT
"""An echo server on the bare socket functions until a client says stop; then what goes wrong with connecting."""

import _mirage

SOCKETS = 1 << _mirage.SOCK_SOURCE
listener = _mirage.sock_listen(6, "127.0.0.1", 0, 64)
datagrams = _mirage.sock_listen(17, "127.0.0.1", 0, 0)
_mirage.sock_watch(listener, 1)
_mirage.sock_watch(datagrams, 1)
print("tcp", _mirage.sock_names(listener)[1], "udp", _mirage.sock_names(datagrams)[1])

flows = {}  # fd -> [bytes waiting to be sent, offset, at end]
counters = {"accepted": 0, "reset": 0, "octets": 0, "most": 0}


def send(fd, flow):
    """False when the connection is over."""
    try:
        while flow[0]:
            n = _mirage.sock_send(fd, flow[0], flow[1])
            if n < 0:
                return True
            flow[1] += n
            if flow[1] == len(flow[0]):
                flow[0], flow[1] = b"", 0
                if not receive(fd, flow):
                    return False
    except OSError:
        return False
    return not flow[2]


def receive(fd, flow):
    try:
        data = _mirage.sock_recv(fd, 65536)
    except OSError as error:
        if error.errno == 104:
            counters["reset"] += 1
        return False
    if data is None:
        return True
    if data == b"":
        flow[2] = True
        return bool(flow[0])
    counters["octets"] += len(data)
    flow[0] = data
    return True


def serve():
    while True:
        if not _mirage.wait(-1) & SOCKETS:
            continue
        while True:
            ready = _mirage.sock_ready()
            if ready < 0:
                break
            fd = ready >> 2
            if fd == listener:
                while True:
                    accepted = _mirage.sock_accept(fd)
                    if accepted is None:
                        break
                    _mirage.sock_option(accepted[0], 1, 1)
                    _mirage.sock_watch(accepted[0], 3)
                    names = _mirage.sock_names(accepted[0])
                    assert names == ("127.0.0.1", _mirage.sock_names(listener)[1], accepted[1], accepted[2])
                    flows[accepted[0]] = [b"", 0, False]
                    counters["accepted"] += 1
                    counters["most"] = max(counters["most"], len(flows))
            elif fd == datagrams:
                while True:
                    got = _mirage.sock_recvfrom(fd, 2000)
                    if got is None:
                        break
                    if got[0] == b"stop":
                        return
                    _mirage.sock_sendto(fd, got[0], got[1], got[2])
            elif fd in flows:
                flow = flows[fd]
                alive = bool(flow[0]) or receive(fd, flow)
                if not (alive and send(fd, flow)):
                    del flows[fd]
                    _mirage.sock_close(fd, False)


serve()
print("counters", counters["accepted"], counters["reset"], counters["octets"], counters["most"], len(flows))

for name, call in (
    ("in use", lambda: _mirage.sock_listen(6, "127.0.0.1", _mirage.sock_names(listener)[1], 1)),
    ("bad address", lambda: _mirage.sock_listen(6, "localhost", 80, 1)),
    ("bad port", lambda: _mirage.sock_listen(6, "127.0.0.1", 65536, 1)),
    ("bad proto", lambda: _mirage.sock_listen(1, "127.0.0.1", 80, 1)),
    ("closed", lambda: _mirage.sock_recv(999, 10)),
    ("not a socket", lambda: _mirage.sock_error(0)),
):
    try:
        print(name, call())
    except OSError as error:
        print(name, "OSError", error.errno)
    except ValueError:
        print(name, "ValueError")

port = _mirage.sock_names(listener)[1]
_mirage.sock_close(listener, False)
fd = _mirage.sock_connect("127.0.0.1", port)
_mirage.sock_watch(fd, 3)
while _mirage.sock_ready() != fd << 2 | 3:
    _mirage.wait(-1)
print("refused", _mirage.sock_error(fd), _mirage.sock_error(fd))
_mirage.sock_close(fd, True)

# A connection to ourselves, over IPv6 where there is one; and its abortive end.
address = _mirage.args()[1]
listener = _mirage.sock_listen(6, address, 0, 1)
fd = _mirage.sock_connect(address, _mirage.sock_names(listener)[1])
_mirage.sock_watch(listener, 1)
while _mirage.sock_ready() != listener << 2 | 1:
    _mirage.wait(-1)
peer, peer_ip, peer_port = _mirage.sock_accept(listener)
print("connected", _mirage.sock_error(fd), peer_ip == address, peer_port == _mirage.sock_names(fd)[1])
_mirage.sock_watch(peer, 1)
print("sent", _mirage.sock_send(fd, b"..data", 2))
while _mirage.sock_ready() != peer << 2 | 1:
    _mirage.wait(-1)
_mirage.sock_shutdown(fd, 1)
print("received", _mirage.sock_recv(peer, 3), _mirage.sock_recv(peer, 100), _mirage.sock_recv(peer, 100))
_mirage.sock_close(peer, True)
try:
    print(_mirage.sock_recv(fd, 100))
except OSError as error:
    print("aborted", error.errno)
