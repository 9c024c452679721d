# SPDX-License-Identifier: MIT
"""Records, messages and alerts of an engine (RFC 8446 sections 4.6.3, 5 and 6; appendix D.4)."""

from __future__ import annotations

from typing import Any

import pytest

from libos.tls import codec, errors
from libos.tls.errors import TlsError
from libos.tls.record import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Keys
from tests.tls.engines import (
    NOW_MS,
    client_context,
    client_engine,
    established,
    exchange,
    quick_crypto,
    record_lengths,
    server_context,
    take_data,
)

UPDATE = b"\x18\x00\x00\x01\x00"
REQUEST = b"\x18\x00\x00\x01\x01"


@pytest.fixture
def pair() -> tuple[Any, Any]:
    client, server = established(client_context(), server_context())
    assert server.take_output() == client.take_output() == b""
    return client, server


def refused(engine: Any, alert: int) -> None:
    assert engine.error is not None
    assert engine.error.alert == alert, engine.error
    assert not engine.error.is_remote
    assert engine.is_closed
    assert not engine.is_established


def flights() -> list[bytes]:
    """What client and server send, in turns."""
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    found = [client.take_output()]
    server.receive_data(found[-1])
    found.append(server.take_output())
    client.receive_data(found[-1])
    found.append(client.take_output())
    return found


# --- octets to records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_handshake_in_pieces(size):
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    for engine, other in [(client, server), (server, client), (client, server), (server, client)]:
        data = engine.take_output()
        for at in range(0, len(data), size):
            other.receive_data(data[at : at + size])
    assert client.is_established
    assert server.is_established
    server.send(b"x" * 1000)
    data = server.take_output()
    for at in range(0, len(data), size):
        client.receive_data(memoryview(data)[at : at + size])
    assert take_data(client) == b"x" * 1000
    assert client._partial is None


def test_messages_in_fragments():
    """Each record of a hello has seven octets of it (section 5.1)."""
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    hello = client.take_output()[5:]
    for at in range(0, len(hello), 7):
        part = hello[at : at + 7]
        server.receive_data(b"\x16\x03\x01\x00" + bytes([len(part)]) + part)
    exchange(client, server)
    assert client.is_established


def sealed(keys: Keys, inner: bytes) -> bytes:
    """A record whose plaintext, type and padding included, is `inner`."""
    nonce = bytes(keys.nonce[:8]) + (keys.tail ^ keys.sequence).to_bytes(4, "big")
    keys.sequence += 1
    header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
    return keys.aead.seal(nonce, header, inner, header)


def test_hello_in_fragments_takes_no_time_for_each():
    """16,000 records of an octet each: what has come is not copied for each."""
    server = server_context().engine(NOW_MS)
    server.receive_data(b"\x16\x03\x01\x00\x04\x01\x00\x3f\xff")
    begun = server._messages
    for _ in range(16):
        server.receive_data(b"\x16\x03\x01\x00\x01\x00" * 1000)
    assert server.error is None
    assert server._messages is begun
    assert len(begun) == 16004
    server.receive_data(b"\x16\x03\x01\x00\x01\x00" * 400)
    refused(server, errors.DECODE_ERROR)


def test_server_flight_in_fragments():
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    server.write_limit = 50
    exchange(client, server)
    assert client.is_established


@pytest.mark.parametrize("padding", [1, 2, 1000])
def test_padding(pair, padding):
    client, server = pair
    client.receive_data(sealed(server.writer, b"data\0\x17" + bytes(padding)))
    assert take_data(client) == b"data\0"
    client.receive_data(sealed(server.writer, b"\x01\x00\x15" + bytes(padding)))
    assert client.is_peer_closed


@pytest.mark.parametrize("inner", [b"", b"\0", bytes(1000)])
def test_record_without_a_type(pair, inner):
    client, server = pair
    client.receive_data(sealed(server.writer, inner))
    refused(client, errors.UNEXPECTED_MESSAGE)


def test_data_behind_the_handshake_in_one_piece():
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    server.receive_data(client.take_output())
    client.receive_data(server.take_output())
    client.send(b"at once")
    client.close()
    server.receive_data(client.take_output())
    assert server.is_established
    assert server.is_peer_closed
    assert take_data(server) == b"at once"


@pytest.mark.parametrize("count", [0, 1, 16383, 16384, 16385, 100000])
def test_data_of_any_length(pair, count):
    client, server = pair
    data = bytes(range(256)) * 400
    server.send(data[:count])
    assert len(record_lengths(server.output)) == (count + 16383) // 16384
    exchange(client, server)
    assert take_data(client) == data[:count]


def test_data_from_any_buffer(pair):
    client, server = pair
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"a memoryview")[2:]):
        server.send(data)
        exchange(client, server)
        assert take_data(client) == bytes(data)


@pytest.mark.parametrize(
    ("data", "alert"),
    [
        (b"GET / HTTP/1.1\r\n", errors.UNEXPECTED_MESSAGE),
        (b"\x80\x2e\x01\x00\x02", errors.UNEXPECTED_MESSAGE),  # SSL 2
        (b"\x16\x02\x00\x00\x05", errors.PROTOCOL_VERSION),
        (b"\x16\x03\x01\x41\x01", errors.RECORD_OVERFLOW),
        (b"\x16\x03\x01\xff\xff", errors.RECORD_OVERFLOW),
        (b"\x16\x03\x01\x40\x01" + bytes(16385), errors.RECORD_OVERFLOW),
        (b"\x16\x03\x01\x00\x00", errors.UNEXPECTED_MESSAGE),
        (b"\x17\x03\x03\x00\x01a", errors.UNEXPECTED_MESSAGE),
        (b"\x14\x03\x03\x00\x01\x01", errors.UNEXPECTED_MESSAGE),  # before a hello
        (b"\x14\x03\x03\x00\x01\x02", errors.UNEXPECTED_MESSAGE),
        (b"\x15\x03\x03\x00\x01\x02", errors.DECODE_ERROR),
        (b"\x15\x03\x03\x00\x03\x02\x28\x00", errors.DECODE_ERROR),
        (b"\x16\x03\x01\x00\x04\x01\x00\x40\x01", errors.DECODE_ERROR),  # longer than a hello may be
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", errors.UNEXPECTED_MESSAGE),
        (b"\x16\x03\x01\x00\x02\x01\x00\x15\x03\x01\x00\x02\x01\x00", errors.UNEXPECTED_MESSAGE),  # within a message
    ],
)
def test_new_server_refuses(data, alert):
    server = server_context().engine(NOW_MS)
    server.receive_data(data)
    refused(server, alert)
    output = server.take_output()
    assert output == b"\x15\x03\x03\x00\x02\x02" + bytes([alert])
    server.receive_data(data)
    assert server.take_output() == b""


def test_record_too_long(pair):
    client, server = pair
    client.receive_data(b"\x17\x03\x03\x40\x12")
    refused(client, errors.RECORD_OVERFLOW)
    server.receive_data(client.take_output())
    assert server.error.alert == errors.RECORD_OVERFLOW
    assert server.error.is_remote


@pytest.mark.parametrize("kind", [0, CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, 24])
def test_record_in_the_clear_after_the_handshake(pair, kind):
    _, server = pair
    server.receive_data(bytes([kind]) + b"\x03\x03\x00\x02\x01\x00")
    refused(server, errors.UNEXPECTED_MESSAGE)


@pytest.mark.parametrize("kind", [1, CHANGE_CIPHER_SPEC, 24, 255])
def test_sealed_record_of_another_type(pair, kind):
    client, server = pair
    server.receive_data(sealed(client.writer, b"\1" + bytes([kind])))
    refused(server, errors.UNEXPECTED_MESSAGE)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17])
def test_record_too_short_to_be_authentic(pair, size):
    _, server = pair
    server.receive_data(b"\x17\x03\x03\x00" + bytes([size]) + bytes(size))
    refused(server, errors.BAD_RECORD_MAC)


def test_record_that_was_repeated_left_out_or_moved(pair):
    for change in (lambda a, b: a + a, lambda a, b: b, lambda a, b: b + a):
        client, server = established(client_context(), server_context())
        client.send(b"one")
        one = client.take_output()
        client.send(b"two")
        server.receive_data(change(one, client.take_output()))
        refused(server, errors.BAD_RECORD_MAC)
        assert take_data(server) in (b"", b"one")


def test_record_of_the_own_side(pair):
    client, _ = pair
    client.send(b"mirror")
    client.receive_data(client.take_output())
    refused(client, errors.BAD_RECORD_MAC)


def test_data_before_finished():
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    server.receive_data(client.take_output())
    client.receive_data(server.take_output())
    client.take_output()
    sealed = client.writer.seal(APPLICATION_DATA, b"early")
    server.receive_data(sealed)
    refused(server, errors.BAD_RECORD_MAC)
    assert server.data == []


def test_data_under_handshake_keys():
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    server.receive_data(client.take_output())
    hello = server.take_output()
    client.receive_data(hello[: 5 + (hello[3] << 8 | hello[4])])  # up to ServerHello
    client.take_output()
    server.receive_data(client.writer.seal(APPLICATION_DATA, b"early"))
    refused(server, errors.UNEXPECTED_MESSAGE)
    assert server.data == []


def test_empty_records_are_borne_but_not_for_ever(pair):
    client, server = pair
    for _ in range(3):
        for _ in range(32):
            client.output.append(client.writer.seal(APPLICATION_DATA, b""))
        client.send(b"x")
        exchange(client, server)
        assert server.error is None
    for _ in range(33):
        client.output.append(client.writer.seal(APPLICATION_DATA, b""))
    exchange(client, server)
    refused(server, errors.UNEXPECTED_MESSAGE)


def test_empty_handshake_record(pair):
    client, server = pair
    server.receive_data(client.writer.seal(HANDSHAKE, b""))
    refused(server, errors.UNEXPECTED_MESSAGE)


def test_change_cipher_specs_are_ignored_but_not_for_ever():
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    spec = b"\x14\x03\x03\x00\x01\x01"
    server.receive_data(client.take_output() + spec * 30)
    client.receive_data(spec * 3 + server.take_output())
    server.receive_data(client.take_output())
    assert server.is_established
    server = server_context().engine(NOW_MS)
    server.receive_data(client_engine(client_context()).take_output() + spec * 33)
    refused(server, errors.UNEXPECTED_MESSAGE)


def test_change_cipher_specs_of_the_compatibility_mode():
    ours, theirs, last = flights()
    hello = 5 + (theirs[3] << 8 | theirs[4])
    assert theirs[hello : hello + 6] == b"\x14\x03\x03\x00\x01\x01"
    assert last[:6] == b"\x14\x03\x03\x00\x01\x01"
    assert ours[:3] == theirs[:3] == b"\x16\x03\x03"


def test_message_across_a_change_of_keys():
    """A message that begins in the client's last record under handshake keys (section 5.1)."""
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    server.receive_data(client.take_output())
    real = client.write
    client.write = lambda kind, data: real(kind, bytes(data) + UPDATE[:2] if kind == HANDSHAKE else data)
    client.receive_data(server.take_output())
    server.receive_data(client.take_output())
    refused(server, errors.UNEXPECTED_MESSAGE)


def test_message_longer_than_it_may_be_then(pair):
    client, server = pair
    client.write(HANDSHAKE, b"\x18\x00\x00\x02\x00\x00")
    exchange(client, server)
    refused(server, errors.DECODE_ERROR)


# --- KeyUpdate (section 4.6.3) ---------------------------------------------------------------------------------------


def secrets(engine: Any) -> tuple[bytes, bytes]:
    return bytes(engine.reader.secret), bytes(engine.writer.secret)


@pytest.mark.parametrize("is_server", [False, True])
@pytest.mark.parametrize("request_peer", [False, True])
def test_keys_are_updated(pair, is_server, request_peer):
    one, other = reversed(pair) if is_server else pair
    before = secrets(one)
    for round_ in range(3):
        one.update_keys(request_peer)
        one.send(b"under new keys")
        exchange(one, other)
        assert take_data(other) == b"under new keys"
        other.send(b"and back")
        exchange(one, other)
        assert take_data(one) == b"and back"
        after = secrets(one)
        assert after[1] != before[1]
        assert (after[0] != before[0]) == request_peer
        assert secrets(other) == after[::-1]
        before = after
        assert round_ < 3


def test_update_of_both_at_once(pair):
    client, server = pair
    client.update_keys(True)
    server.update_keys(True)
    exchange(client, server)
    assert secrets(client) == secrets(server)[::-1]
    client.send(b"still")
    exchange(client, server)
    assert take_data(server) == b"still"


@pytest.mark.parametrize(
    ("message", "alert"),
    [
        (b"\x18\x00\x00\x01\x02", errors.ILLEGAL_PARAMETER),
        (b"\x18\x00\x00\x00", errors.DECODE_ERROR),
        (UPDATE + UPDATE, errors.UNEXPECTED_MESSAGE),  # not at the end of its record
        (UPDATE + b"\x18", errors.UNEXPECTED_MESSAGE),
    ],
)
def test_malformed_update(pair, message, alert):
    client, server = pair
    client.write(HANDSHAKE, message)
    exchange(client, server)
    refused(server, alert)


def test_flood_of_updates_is_answered_once_and_then_ended(pair):
    client, server = pair
    output = b""
    for _ in range(32):
        client.update_keys(True)
        output += client.take_output()
    server.receive_data(output)
    assert server.error is None
    assert len(server.output) == 1
    exchange(client, server)
    client.update_keys(True)
    exchange(client, server)
    refused(server, errors.UNEXPECTED_MESSAGE)


def test_keys_are_updated_at_the_limit_of_records(pair):
    client, server = pair
    server.context.max_sealed = 5
    keys = secrets(client)[0]
    for number in range(20):
        server.send(b"%d" % number)
    exchange(client, server)
    assert take_data(client) == b"".join(b"%d" % number for number in range(20))
    assert secrets(client)[0] != keys
    assert server.writer.sequence <= 5


@pytest.mark.parametrize("limit", [100, 5000, 16384])
def test_data_in_many_records(pair, limit):
    client, server = pair
    server.write_limit = limit
    data = bytes(range(256)) * 800 + b"odd"
    server.send(data)
    assert max(len(octets) for octets in server.output) <= 65536 + 22 * (65536 // limit)
    assert record_lengths(server.output) == [limit] * (len(data) // limit) + [len(data) % limit]
    exchange(client, server)
    assert take_data(client) == data
    server.send(b"and")
    server.send(b"on")
    exchange(client, server)
    assert take_data(client) == b"andon"


def test_no_memory_for_what_is_sent(pair, monkeypatch):
    """Nothing was sent, no number used up: it can be sent once there is memory."""
    client, server = pair

    def refuse(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(server.writer.aead, "seal_records", refuse)
        with pytest.raises(MemoryError):
            server.send(bytes(40000))
    assert server.output == []
    server.send(bytes(40000))
    exchange(client, server)
    assert take_data(client) == bytes(40000)


def test_peer_that_never_updates_its_keys(pair):
    client, server = pair
    client.writer.sequence = server.reader.sequence = (1 << 32) - 1
    client.send(b"x")
    exchange(client, server)
    refused(server, errors.UNEXPECTED_MESSAGE)


def test_update_before_the_handshake_or_after_the_end(pair):
    with pytest.raises(TlsError):
        client_engine(client_context()).update_keys()
    client, _ = pair
    client.close()
    with pytest.raises(TlsError):
        client.update_keys()


def test_update_that_is_asked_of_who_has_closed(pair):
    client, server = pair
    server.close()
    client.update_keys(True)
    client.send(b"more")
    exchange(client, server)
    assert server.error is None
    assert take_data(server) == b"more"


# --- the end (section 6.1) -------------------------------------------------------------------------------------------


def test_closed_by_both(pair):
    client, server = pair
    client.send(b"last")
    client.close()
    client.close()
    exchange(client, server)
    assert server.is_peer_closed
    assert not server.is_closed
    assert server.error is None
    assert take_data(server) == b"last"
    server.send(b"answer")  # each direction closes by itself
    server.close()
    exchange(client, server)
    assert take_data(client) == b"answer"
    assert client.is_peer_closed
    client.receive_data(b"")
    server.receive_data(b"")
    assert client.error is None
    assert server.error is None
    assert client.reader is client.writer is server.reader is server.writer is None
    with pytest.raises(TlsError):
        client.send(b"x")


def test_data_after_close_notify_is_not_looked_at(pair):
    client, server = pair
    client.close()
    server.receive_data(client.take_output() + b"anything")
    server.receive_data(b"anything at all")
    assert server.error is None
    assert server.data == []


def test_truncated(pair):
    client, server = pair
    client.send(b"part")
    server.receive_data(client.take_output())
    server.receive_data(b"")
    assert take_data(server) == b"part"
    assert server.error.reason.startswith("truncated")
    assert not server.is_peer_closed
    assert server.take_output() == b""
    assert server.context.counters["truncated"] == 1
    with pytest.raises(TlsError):
        server.send(b"x")


def test_truncated_after_our_close(pair):
    _, server = pair
    server.close()
    server.receive_data(b"")
    assert server.error.reason.startswith("truncated")


def test_truncated_within_a_handshake():
    server = server_context().engine(NOW_MS)
    server.receive_data(client_engine(client_context()).take_output())
    server.receive_data(b"")
    assert "handshake" in server.error.reason


def test_no_memory_for_what_the_peer_sent(pair):
    """It ends this connection, and raises nowhere."""
    client, server = pair

    def full(*args: Any) -> bytes:
        raise MemoryError

    client.send(b"x")
    server.reader.aead.open = full
    server.receive_data(client.take_output())
    assert server.error.alert == errors.INTERNAL_ERROR
    assert server.is_closed
    assert server.take_output() == b""
    assert server.context.counters["failures"] == 1


def test_closed_before_it_began():
    server = server_context().engine(NOW_MS)
    server.close()
    assert server.take_output() == b"\x15\x03\x03\x00\x02\x01\x00"
    assert server.is_closed
    server.receive_data(client_engine(client_context()).take_output())
    assert server.take_output() == b""


def test_close_notify_within_a_handshake():
    client = client_engine(client_context())
    client.receive_data(b"\x15\x03\x03\x00\x02\x01\x00")
    assert client.error.is_remote
    assert client.is_closed


def test_send_before_the_handshake():
    for engine in (client_engine(client_context()), server_context().engine(NOW_MS)):
        with pytest.raises(TlsError):
            engine.send(b"x")


def test_alert_ends_the_connection(pair):
    client, server = pair
    client.write(ALERT, b"\x02\x50")
    client.send(b"more")
    exchange(client, server)
    assert server.error.alert == errors.INTERNAL_ERROR
    assert server.error.is_remote
    assert server.data == []
    assert server.take_output() == b""


def test_alert_of_any_level_and_number_ends_the_connection(pair):
    for level in (0, 1, 2, 255):
        for number in (1, 10, 77, 100, 255):
            client, server = established(client_context(), server_context())
            client.write(ALERT, bytes([level, number]))
            exchange(client, server)
            assert server.error.alert == number
            assert server.error.is_remote


def test_user_canceled_is_ignored(pair):
    client, server = pair
    client.write(ALERT, b"\x01\x5a")
    client.send(b"and on")
    exchange(client, server)
    assert server.error is None
    assert take_data(server) == b"and on"


@pytest.mark.parametrize("alert", [b"", b"\x02", b"\x02\x28\x00", b"\x01\x00\x01\x00"])
def test_malformed_alert(pair, alert):
    client, server = pair
    server.receive_data(client.writer.seal(ALERT, alert))
    refused(server, errors.DECODE_ERROR if alert else errors.UNEXPECTED_MESSAGE)


def test_client_refuses_the_hello_in_the_clear():
    """A client that dislikes ServerHello has no keys to say so with."""
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    server.receive_data(client.take_output())
    server.receive_data(b"\x15\x03\x03\x00\x02\x02\x2f")
    assert server.error.alert == errors.ILLEGAL_PARAMETER
    assert server.error.is_remote


# --- early data (section 4.2.10) -------------------------------------------------------------------------------------


def early_hello() -> bytes:
    """A hello with early_data: it says that data follow at once."""
    hello = client_engine(client_context()).take_output()[5:]
    end = 39 + hello[38]
    end += 2 + (hello[end] << 8 | hello[end + 1])
    end += 1 + hello[end]
    found = hello[end + 2 :] + codec.extension(codec.EXT_EARLY_DATA, b"")
    message = codec.message(1, hello[4:end] + codec.vector16(found))
    return b"\x16\x03\x01" + codec.vector16(message)


def test_early_data_is_skipped_and_bounded():
    server = server_context().engine(NOW_MS)
    server.receive_data(early_hello())
    record = b"\x17\x03\x03\x10\x00" + bytes(4096)
    for _ in range(7):
        server.receive_data(record)
        assert server.error is None
    assert server.data == []
    server.receive_data(record)
    refused(server, errors.UNEXPECTED_MESSAGE)


def test_early_data_is_skipped_after_a_retry():
    crypto = quick_crypto()
    crypto.groups = (0x0017,)
    server = server_context(crypto=crypto).engine(NOW_MS)
    server.receive_data(early_hello())
    assert server.error is None
    record = b"\x17\x03\x03\x10\x00" + bytes(4096)
    server.receive_data(record * 6)
    assert server.error is None
    server.receive_data(early_hello())
    refused(server, errors.ILLEGAL_PARAMETER)


def test_skipping_ends_with_the_first_authentic_record():
    clients, servers = client_context(), server_context()
    client, server = client_engine(clients), servers.engine(NOW_MS)
    server.receive_data(client.take_output())
    server.skippable = 32768
    server.receive_data(b"\x17\x03\x03\x00\x20" + bytes(32))
    client.receive_data(server.take_output())
    server.receive_data(client.take_output())
    assert server.is_established
    server.receive_data(b"\x17\x03\x03\x00\x20" + bytes(32))
    refused(server, errors.BAD_RECORD_MAC)


# --- what is left in memory ------------------------------------------------------------------------------------------


def test_secrets_are_wiped_at_the_end(pair):
    client, server = pair
    keys = [client.reader, client.writer, server.reader, server.writer]
    client.close()
    server.close()
    exchange(client, server)
    for each in keys:
        assert bytes(each.secret) == bytes(32)
        assert bytes(each.nonce) == bytes(12)
        assert each.aead._cipher is None


def test_handshake_leaves_nothing(pair):
    for engine in pair:
        assert engine._secrets is None
        assert engine._partial is None
        assert engine._messages is None
        assert not hasattr(engine.handshake, "transcript")
        assert not hasattr(engine.handshake, "privates")


def test_failed_engine_keeps_nothing():
    client, server = client_engine(client_context()), server_context().engine(NOW_MS)
    server.receive_data(client.take_output())
    server.receive_data(b"\x17\x03\x03\x00\x20" + bytes(32))
    refused(server, errors.BAD_RECORD_MAC)
    assert server.handshake is None
    assert server.reader is server.writer is None
    assert server._secrets is None
