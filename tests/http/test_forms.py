# SPDX-License-Identifier: MIT
"""Cookies, forms, multipart/form-data and server-sent events."""

import email.parser
import email.policy
import http.cookies
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libos.http import cookies, forms, multipart_writer, sse
from libos.http.errors import LocalError, RemoteError
from libos.http.head import Headers
from libos.http.multipart import FORM_END, PART_END, MultipartReader, Part, boundary_of
from libos.http.sse_reader import EventReader


def headers(*pairs):
    return Headers(list(pairs))


# --- cookies ---


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([b"a=1; b=2"], {b"a": b"1", b"b": b"2"}),
        ([b"a=1", b"b=2;c=3"], {b"a": b"1", b"b": b"2", b"c": b"3"}),
        ([b"a=1; a=2"], {b"a": b"1"}),
        ([b'a="x y"; b=x=y'], {b"a": b"x y", b"b": b"x=y"}),
        ([b"a; =b; ;; c d=1; e=\x80; f=ok"], {b"f": b"ok"}),
        ([b'a=";b="'], {}),
        ([b"a="], {b"a": b""}),
        ([], {}),
    ],
)
def test_cookies_of_a_request(lines, found):
    assert cookies.parse(headers(*((b"cookie", line) for line in lines))) == found


def test_cookies_are_not_more_than_a_hundred():
    line = b"; ".join(b"c%d=1" % number for number in range(5000))
    assert len(cookies.parse(headers((b"cookie", line)))) == cookies.MAX_COOKIES


def test_cookie_to_set():
    assert cookies.build("id", "abc") == b"id=abc; Path=/; HttpOnly; SameSite=Lax"
    value = cookies.build(
        "__Host-id", b"x", max_age_s=0, expires_s=784111777, secure=True, http_only=False, same_site="Strict"
    )
    assert value == b"__Host-id=x; Max-Age=0; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Path=/; Secure; SameSite=Strict"
    assert cookies.build("a", "b", domain="example.com", path="/x", same_site=None).endswith(
        b"Domain=example.com; Path=/x; HttpOnly"
    )
    parsed = http.cookies.SimpleCookie(value.decode())["__Host-id"]
    assert (parsed.value, parsed["path"], parsed["secure"], parsed["samesite"]) == ("x", "/", True, "Strict")


@pytest.mark.parametrize(
    "given_values",
    [
        {"name": "a b"}, {"name": ""}, {"name": "a=b"}, {"name": "a\r\nX: y"}, {"value": "a;b"},
        {"value": "a\r\nSet-Cookie: b=c"},
        {"value": "a b"}, {"value": 'a"b'}, {"value": "ä"}, {"value": "a,b"}, {"value": "\0"}, {"value": "x" * 5000},
        {"path": "/;Domain=x"}, {"path": "/\r\nX: y"}, {"domain": "a;b"}, {"same_site": "Other"}, {"same_site": "None"},
        {"name": "__Secure-a"}, {"name": "__Host-a"}, {"name": "__Host-a", "secure": True, "path": "/x"},
        {"name": "__Host-a", "secure": True, "domain": "x"},
    ],
)  # fmt: skip
def test_cookie_that_would_say_something_else_is_our_error(given_values):
    with pytest.raises(LocalError):
        cookies.build(**{"name": "a", "value": "b", **given_values})


@given(st.binary(max_size=80))
def test_cookies_of_any_octets(data):
    for name, value in cookies.parse(headers((b"cookie", data))).items():
        assert name
        assert b";" not in value


# --- forms ---


def test_form():
    kind = (b"content-type", b"Application/X-WWW-Form-Urlencoded; charset=utf-8")
    assert forms.parse(headers(kind), b"a=b+c&d=%26") == [("a", "b c"), ("d", "&")]
    with pytest.raises(ValueError, match="not a form"):
        forms.parse(headers((b"content-type", b"text/plain")), b"a=b")
    with pytest.raises(ValueError, match="not a form"):
        forms.parse(headers(), b"a=b")


# --- multipart ---

FORM = (
    b"preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--XX \r\n"
    b"Content-Disposition: form-data; name=\"file\"; filename=\"x.bin\"\r\nContent-Type: image/png\r\n\r\n"
    b"\r\n--X\r\n--XY\r--XX\n--XX\r\n"
    b"\r\n--XX\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n\r\n--XX--\r\nepilogue --XX"
)  # fmt: skip


def parts(data, cut=None, boundary=b"XX", end=True, **more):
    reader = MultipartReader(boundary, **more)
    pieces = [data] if cut is None else [data[at : at + cut] for at in range(0, len(data), cut)]
    found, content = [], None
    for piece in [*pieces, b""] if end else pieces:
        reader.receive_data(piece)
        while (event := reader.next_event()) is not None:
            if event is FORM_END:
                found.append("end")
            elif event is PART_END:
                found.append(content)
            elif isinstance(event, Part):
                found.append((event.name, event.filename))
                content = b""
            else:
                content += event
    return found


@pytest.mark.parametrize("cut", [None, 1, 2, 3, 4, 5, 7, 50])
def test_form_in_parts(cut):
    assert parts(FORM, cut) == [
        (b"a", None), b"one", (b"file", b"x.bin"), b"\r\n--X\r\n--XY\r--XX\n--XX\r\n",
        (b"", None), b"", "end",
    ]  # fmt: skip


HEAD = b'--XX\r\nContent-Disposition: form-data; name="a"\r\n'


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"no boundary at all", 400),
        (b"x" * 5000, 400),
        (HEAD + b"\r\nunfinished", 400),
        (HEAD, 400),
        (b"--XX", 400),
        (b"--XXY\r\n", 400),
        (b"--XX" + b" " * 100, 400),
        (b"--XX\r\nContent-Disposition: form-data\r\n\r\n\r\n--XX--", 400),
        (b"--XX\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n--XX--", 400),
        (b"--XX\r\n\r\n\r\n--XX--", 400),
        (b"--XX\r\nContent-Disposition : form-data; name=a\r\n\r\n\r\n--XX--", 400),
        (b'--XX\r\nContent-Disposition: form-data; name="a\r\n\r\n\r\n--XX--', 400),
        (HEAD + b"X: " + b"y" * 9000 + b"\r\n\r\n", 431),
        (HEAD + b"X: " + b"y" * 9000, 431),
        (HEAD + b"X: y\r\n" * 20 + b"\r\n", 431),
        ((HEAD + b"\r\n\r\n") * 6, 413),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_form_that_is_refused(data, status):
    for cut in (None, 1, 7):
        with pytest.raises(RemoteError) as error:
            parts(data, cut, max_parts=5)
        assert error.value.status == status


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"multipart/form-data", 400), (b"multipart/form-data; boundary=", 400), (b"text/plain; boundary=a", 415),
        (b"", 415),
        (b'multipart/form-data; boundary="' + b"a" * 71 + b'"', 400), (b'multipart/form-data; boundary="a\\""', 400),
        (b'multipart/form-data; boundary="a "', 400), (b"multipart/form-data; boundary=a; boundary=b", 400),
    ],
)  # fmt: skip
def test_boundary_that_is_none(value, status):
    with pytest.raises(RemoteError) as error:
        boundary_of(headers((b"content-type", value)))
    assert error.value.status == status


fields = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), include_characters="\r\n\t"), max_size=9),
        st.binary(max_size=200),
        st.booleans(),
    ),
    max_size=5,
)


@given(fields, st.integers(1, 100))
@settings(max_examples=60)
def test_form_comes_back_and_pythons_email_reads_it(given_fields, cut):
    ours = [(name, value, "f.txt", "text/plain") if file else (name, value) for name, value, file in given_fields]
    kind, content = multipart_writer.build(random.Random(1).randbytes, ours)
    found = parts(content, cut, boundary_of(headers((b"content-type", kind))))
    wanted = []
    for name, value, file in given_fields:
        quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").encode()
        wanted += [(quoted, b"f.txt" if file else None), value]
    assert found == [*wanted, "end"]
    if given_fields:
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
            b"Content-Type: " + kind + b"\r\n\r\n" + content
        )
        assert len(message.get_payload()) == len(given_fields)


def test_form_is_read_without_keeping_it():
    reader = MultipartReader(b"XX")
    reader.receive_data(HEAD + b"\r\n")
    assert isinstance(reader.next_event(), Part)
    for _ in range(100):
        reader.receive_data(b"\r\n--X" * 10_000)
        while reader.next_event() is not None:
            pass
        assert len(reader._buf) - reader._at < 10


@given(st.binary(max_size=300), st.integers(1, 30))
def test_form_of_any_octets(data, cut):
    data = HEAD + b"\r\n" + data.replace(b"x", b"\r\n--XX\r\n")
    results = []
    for size in (None, cut):
        try:
            results.append(parts(data, size))
        except RemoteError as error:
            results.append(error.status)
    assert results[0] == results[1]


# --- server-sent events ---


def sent(data, cut=None):
    reader = EventReader()
    found = []
    for at in range(0, len(data), cut or len(data)):
        reader.receive_data(data[at : at + (cut or len(data))])
        while (event := reader.next_event()) is not None:
            found.append((event.name, event.data, event.id))
    return found, reader


def test_event():
    assert (
        sse.event("a\nb\r\nc\rd", "add", "7", 3000)
        == b"event: add\nid: 7\nretry: 3000\ndata: a\ndata: b\ndata: c\ndata: d\n\n"
    )
    for wrong in ({"name": "a\nb"}, {"id": "a\rb"}, {"id": "\0"}):
        with pytest.raises(LocalError):
            sse.event("x", **wrong)


@pytest.mark.parametrize("cut", [None, 1, 2, 3])
def test_events_in_every_form(cut):
    data = b"\xef\xbb\xbf: comment\r\rdata: a\rdata:b\r\ndata\n\n"
    data += b"event: x\nid: 1\ndata:  c\nretry: 10\nretry: x\nunknown: y\n\nid\nevent: y\n\ndata: d\n\ndata: lost"
    found, reader = sent(data, cut)
    assert found == [("message", "a\nb\n", ""), ("x", " c", "1"), ("message", "d", "")]
    assert reader.retry_ms == 10


@given(
    st.text(st.characters(codec="utf-8")),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1),
    st.integers(1, 9),
)
def test_events_come_back(text, name, cut):
    data = sse.event(text, name) + sse.KEEP_ALIVE
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert sent(data * 2, cut)[0] == [(name, lines, "")] * 2


def test_event_that_never_ends():
    for data in (b"data: " + b"x" * 70000, b"data: xxxxxxxxx\n" * 7000):
        with pytest.raises(RemoteError):
            sent(data)
