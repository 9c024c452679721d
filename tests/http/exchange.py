# SPDX-License-Identifier: MIT
"""What the tests of libos.http share: feeding octets in every cut, and reading what comes out."""

from libos.http import connection
from libos.http.errors import RemoteError
from libos.http.server import ServerConnection

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def events(conn, data, cut=None, end=False, answer=None):
    """All that conn tells of data, as plain values; errors as ("error", status).

    cut: octets at a time, None for all at once. end: the transport ends behind it. answer: called with conn at PAUSED.
    """
    pieces = [data] if cut is None else [data[at : at + cut] for at in range(0, len(data), cut)]
    if end:
        pieces.append(b"")
    told = []
    for piece in pieces:
        conn.receive_data(piece)
        while True:
            try:
                event = conn.next_event()
            except RemoteError as error:
                told.append(("error", error.status))
                return merged(told)
            if event is connection.PAUSED and answer is not None and conn.can_respond:
                answer(conn)
                continue
            if event in (connection.NEED_DATA, connection.PAUSED):
                break
            told.append(plain(event))
            if event is connection.CLOSED:
                return merged(told)
    return merged(told)


def plain(event):
    if event is connection.CLOSED:
        return ("closed",)
    if isinstance(event, bytes):
        return ("data", event)
    if isinstance(event, connection.EndOfMessage):
        return ("end", event.trailers.pairs)
    if hasattr(event, "method"):
        return ("request", event.method, event.target, event.version, event.headers.pairs, event.length)
    return ("response", event.status, event.headers.pairs, event.length)


def merged(told):
    """Content in one piece, and none before an error: how it was cut is nobody's business."""
    whole = []
    for event in told:
        if event[0] == "data" and whole and whole[-1][0] == "data":
            whole[-1] = ("data", whole[-1][1] + event[1])
        elif event[0] == "error" and whole and whole[-1][0] == "data":
            whole[-1] = event
        else:
            whole.append(event)
    return whole


def answer_ok(conn):
    conn.send_response(200)


def server_events(data, **more):
    """What a server that answers each request with 200 is told, whole, octet by octet and in other cuts: the same."""
    limits = more.pop("limits", None)
    whole = events(ServerConnection(limits), data, answer=answer_ok, **more)
    for cut in (1, 2, 3, 7):
        pieces = events(ServerConnection(limits), data, cut, answer=answer_ok, **more)
        assert pieces == whole, (cut, pieces, whole)
    return whole
