# SPDX-License-Identifier: MIT
"""WebSocket: frames and messages both ways, wsproto as the other end, and everything that RFC 6455 forbids."""

import hashlib
import random
import struct

import pytest
import wsproto
import wsproto.events as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from libos.http import websocket
from libos.http.errors import LocalError
from libos.http.sha1 import sha1
from libos.http.websocket import BINARY, TEXT, Close, Pong, WebSocket

LIMIT = 1000
KEY = b"\x12\x34\x56\x78"


def frame(opcode, data=b"", last=True, mask=KEY, first=None, length=None):
    """A frame by hand; mask: as a client's. length: one of 7, 16 or 64 bits for another form than the shortest."""
    head = bytes([first if first is not None else opcode | (128 if last else 0)])
    masked = 128 if mask else 0
    size = len(data)
    if length == 64 or (length is None and size > 65535):
        head += bytes([masked | 127]) + struct.pack(">Q", size)
    elif length == 16 or (length is None and size > 125):
        head += bytes([masked | 126]) + struct.pack(">H", size)
    else:
        head += bytes([masked | size])
    if mask:
        data = mask + bytes(octet ^ mask[index & 3] for index, octet in enumerate(data))
    return head + data


def told(ws, data, cut=None, end=False):
    """(events as plain values, output)."""
    pieces = [data] if cut is None else [data[at : at + cut] for at in range(0, len(data), cut)]
    found, out = [], b""
    for piece in [*pieces, b""] if end else pieces:
        if found and type(found[-1]) is tuple and found[-1][0] == "close":
            break
        ws.receive_data(piece)
        while (event := ws.next_event()) is not None:
            if isinstance(event, Close):
                found.append(("close", event.code, event.is_remote))
                break
            found.append(("pong", event.data) if isinstance(event, Pong) else event)
        out += ws.take_output()
    return found, out


def server_told(data, cut=None, end=False):
    return told(WebSocket(False, max_message_bytes=LIMIT), data, cut, end)


def both(data, **more):
    """What a server makes of data, however it is cut."""
    whole = server_told(data, **more)
    for cut in (1, 2, 3, 5):
        assert server_told(data, cut, **more)[0] == whole[0]
    return whole


def test_messages_of_each_length():
    for size in (0, 1, 125, 126, 127, 1000):
        data = bytes(range(256)) * 4
        assert both(frame(BINARY, data[:size]))[0] == [data[:size]]
    big = random.Random(1).randbytes(70000)
    assert told(WebSocket(False), frame(BINARY, big))[0] == [big]
    assert told(WebSocket(False), frame(BINARY, big), 4099)[0] == [big]


def test_message_in_fragments_with_control_frames_between():
    data = frame(TEXT, "grü".encode()[:3], last=False) + frame(9, b"ping") + frame(0, b"\xbc\xc3", last=False)
    data += frame(10, b"pong") + frame(0, b"\x9fe")
    events, out = both(data)
    assert events == [("pong", b"pong"), "grüße"]
    assert out == frame(10, b"ping", mask=None)


def test_flood_of_pings_gets_one_pong():
    ws = WebSocket(False)
    events, out = told(ws, b"".join(frame(9, b"%d" % number) for number in range(1000)))
    assert events == []
    assert out == frame(10, b"999", mask=None)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(BINARY, b"a", mask=None), 1002),
        (frame(3, b""), 1002),
        (frame(7, b""), 1002),
        (frame(11, b""), 1002),
        (frame(15, b""), 1002),
        (frame(0, b"a"), 1002),
        (frame(TEXT, b"a", last=False) + frame(TEXT, b"b"), 1002),
        (frame(9, b"a", last=False), 1002),
        (frame(9, bytes(126)), 1002),
        (frame(8, bytes(126)), 1002),
        (frame(1, b"a", first=0xC1), 1002),
        (frame(1, b"a", first=0xA1), 1002),
        (frame(1, b"a", first=0x91), 1002),
        (frame(1, b"a", length=16), 1002),
        (frame(1, bytes(200), length=64), 1002),
        (b"\x82\xff" + b"\xff" * 8 + KEY, 1002),
        (frame(8, b"\x03"), 1002),
        (frame(8, b"\x03\xec"), 1002),
        (frame(8, b"\x03\xed"), 1002),
        (frame(8, b"\x03\xee"), 1002),
        (frame(8, b"\0\0"), 1002),
        (frame(8, b"\x03\xf7"), 1002),
        (frame(8, b"\x07\xd0"), 1002),
        (frame(8, b"\xff\xff"), 1002),
        (frame(8, b"\x03\xe8\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xc3"), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"\xc3", last=False) + frame(0, b"a"), 1007),
        (frame(BINARY, bytes(LIMIT + 1)), 1009),
        (frame(BINARY, bytes(LIMIT), last=False) + frame(0, b"a"), 1009),
        (b"\x82\xff" + struct.pack(">Q", 1 << 62) + KEY, 1009),
    ],
)
def test_what_is_forbidden_fails_the_connection(data, code):
    events, out = both(data)
    assert events == [("close", code, False)]
    assert out[:4] == bytes([0x88, out[1]]) + struct.pack(">H", code)


def test_text_that_is_none_is_told_before_its_frame_is_complete():
    ws = WebSocket(False)
    assert told(ws, frame(TEXT, b"abc\xff" + bytes(100))[:12])[0] == [("close", 1007, False)]


def test_masked_frame_to_a_client():
    events, out = told(WebSocket(True, lambda count: KEY), frame(TEXT, b"a"))
    assert events == [("close", 1002, False)]
    assert out.startswith(b"\x88")


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1011, 1014, 3000, 4999])
def test_close_is_answered_with_its_code(code):
    events, out = both(frame(8, struct.pack(">H", code) + "gründlich".encode()))
    assert events == [("close", code, True)]
    assert out == frame(8, struct.pack(">H", code), mask=None)


def test_close_without_code():
    assert both(frame(8)) == ([("close", 1005, True)], frame(8, mask=None))


def test_transport_that_ends():
    assert both(b"", end=True) == ([("close", 1006, True)], b"")
    assert both(frame(TEXT, b"abc")[:5], end=True) == ([("close", 1006, True)], b"")


def test_after_our_close_messages_still_come_until_the_peer_agrees():
    ws = WebSocket(False)
    assert ws.send_close(1001, "bye") == frame(8, b"\x03\xe9bye", mask=None)
    assert ws.send_close() == b""
    for send in (lambda: ws.send("x"), ws.send_ping):
        with pytest.raises(LocalError):
            send()
    assert told(ws, frame(TEXT, b"late") + frame(9, b"x") + frame(8, b"\x03\xe9")) == (
        ["late", ("close", 1001, True)],
        b"",
    )
    ws.receive_data(frame(TEXT, b"too late"))
    assert ws.next_event().code == 1001


def test_what_we_must_not_send():
    ws = WebSocket(False)
    for code in (999, 1004, 1005 + 1, 1015, 2000, 5000):
        with pytest.raises(LocalError):
            ws.send_close(code)
    with pytest.raises(LocalError):
        ws.send_close(1000, "x" * 124)
    with pytest.raises(LocalError):
        ws.send_ping(bytes(126))
    assert ws.is_open


def test_message_in_fragments_of_an_octet_takes_no_list_of_that_many():
    ws = WebSocket(False, max_message_bytes=100_000)
    data = frame(BINARY, b"x", last=False) + frame(0, b"y", last=False) * 50_000
    ws.receive_data(data)
    assert ws.next_event() is None
    assert len(ws._parts._pieces) + len(ws._parts._joined) < 500
    # And fragments without an octet take nothing.
    ws.receive_data(frame(0, b"", last=False) * 10_000 + frame(0, b"z"))
    assert ws.next_event() == b"x" + b"y" * 50_000 + b"z"


@given(
    st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=300)), max_size=8), st.integers(1, 400), st.booleans()
)
@settings(max_examples=60)
def test_wsproto_understands_us_and_we_it(messages, cut, is_client):
    ours = WebSocket(is_client, random.Random(1).randbytes)
    other = wsproto.connection.Connection(wsproto.ConnectionType.SERVER if is_client else wsproto.ConnectionType.CLIENT)
    messages = [
        message.encode("utf-8", "replace").decode() if isinstance(message, str) else message for message in messages
    ]
    sent = b"".join(ours.send(message) for message in messages) + ours.send_ping(b"?")
    other.receive_data(sent)
    heard, out = [], b""
    whole = ""
    for event in other.events():
        if isinstance(event, theirs.Ping):
            out += other.send(event.response())
        else:
            whole = whole + event.data if whole else event.data
            if event.message_finished:
                heard.append(bytes(whole) if isinstance(event, theirs.BytesMessage) else whole)
                whole = ""
    assert heard == messages
    for message in messages:
        kind = theirs.TextMessage if isinstance(message, str) else theirs.BytesMessage
        out += other.send(kind(message[:7], message_finished=False)) + other.send(kind(message[7:]))
    out += other.send(theirs.CloseConnection(4000, "done"))
    events, answer = told(ours, out, cut)
    assert events == [("pong", b"?"), *messages, ("close", 4000, True)]
    other.receive_data(answer)
    assert [event.code for event in other.events()] == [4000]


@given(st.binary(max_size=200), st.booleans(), st.integers(1, 50))
def test_any_octets_never_raise(data, is_client, cut):
    whole = told(WebSocket(is_client, lambda count: KEY, LIMIT), data, end=True)[0]
    assert told(WebSocket(is_client, lambda count: KEY, LIMIT), data, cut, end=True)[0] == whole


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_mask_as_the_plain_twin(data, key):
    changed = bytearray(data)
    websocket._mask(changed, len(changed), int.from_bytes(key, "little"))
    assert changed == bytes(octet ^ key[index & 3] for index, octet in enumerate(data))


@given(st.binary(max_size=200))
def test_sha1_is_hashlibs(data):
    assert sha1(data) == hashlib.sha1(data).digest()
