# SPDX-License-Identifier: MIT
"""Dates, percent-encoding, queries, paths, URLs, media types, conditions and ranges."""

import datetime
import email.utils
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libos.http import conditional, dates, media, paths, percent, query, ranges, url, utf8
from libos.http.authority import is_authority
from libos.http.head import Headers

SIZE = 1000


def headers(**pairs):
    return Headers([(name.replace("_", "-").encode(), value) for name, value in pairs.items()])


# --- dates ---


@given(st.integers(0, 253402300799))
def test_date_is_what_python_says_and_comes_back(seconds):
    text = dates.format(seconds)
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)
    assert text.decode() == email.utils.format_datetime(moment, usegmt=True)
    assert dates.parse(text) == seconds


@pytest.mark.parametrize(
    "text", [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"]
)
def test_date_in_each_of_the_three_formats(text):
    assert dates.parse(text) == 784111777


@pytest.mark.parametrize(
    "text",
    [
        b"", b"x", b"Sun, 06 Nov 1994 08:49:37", b"Sun, 06 Nov 1994 08:49:37 CET", b"Sun, 32 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Foo 1994 08:49:37 GMT", b"Sun, 06 ov  1994 08:49:37 GMT", b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT", b"Sun, 06 Nov 1994 8:49:37 GMT", b"Sun, +6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 94 08:49:37 GMT", b"Sun, 06 Nov 1969 08:49:37 GMT", b"Sun, 06-Nov-94 08:49:37 GMT" + b" " * 40,
        b"Sun, 06 Nov 1994 08:49:3x GMT", b"a b c d e", b"a b-c-d 08:49:37 GMT", b"Sun, 00 Nov 1994 08:49:37 GMT",
    ],
)  # fmt: skip
def test_date_that_is_none(text):
    assert dates.parse(text) is None


@given(st.binary(max_size=45))
def test_date_of_any_octets(data):
    assert dates.parse(data) is None or dates.parse(data) >= 0


@pytest.mark.parametrize("seconds", [-1, 253402300800])
def test_date_outside_of_what_can_be_written(seconds):
    with pytest.raises(ValueError, match="1970 to 9999"):
        dates.format(seconds)


# --- percent-encoding, queries, UTF-8 ---


@given(st.binary())
def test_percent_encoding_comes_back(data):
    text = percent.encode(data)
    assert text == urllib.parse.quote(data, safe="")
    assert percent.decode(text.encode()) == data


@pytest.mark.parametrize("text", [b"%", b"%a", b"%zz", b"a%2", b"%+1", b"% 1", b"%0x"])
def test_percent_encoding_that_is_malformed(text):
    with pytest.raises(ValueError, match="percent"):
        percent.decode(text)


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")))))
def test_query_comes_back(pairs):
    text = query.build(pairs)
    assert query.parse(text.encode()) == pairs
    assert urllib.parse.parse_qsl(text, keep_blank_values=True) == pairs


def test_query_with_what_people_write():
    assert query.parse(b"a=1&&b=two+words&c&=d&e=%C3%A4=") == [
        ("a", "1"),
        ("b", "two words"),
        ("c", ""),
        ("", "d"),
        ("e", "ä="),
    ]
    assert query.build({"n": 5, "b": b"\xff"}) in ("n=5&b=%FF", "b=%FF&n=5")


@pytest.mark.parametrize("text", [b"a=%ff", b"a=%", b"\xc0\x80=", b"&" * 1000])
def test_query_that_is_refused(text):
    with pytest.raises(ValueError, match=r"UTF-8|percent|1000 fields"):
        query.parse(text)


def utf8_prefix(data):
    """The plain twin of scan_utf8."""
    try:
        data.decode()
        return len(data)
    except UnicodeDecodeError as error:
        return error.start if error.reason == "unexpected end of data" else -1


@given(
    st.one_of(st.binary(max_size=12), st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass"))),
    st.integers(0, 9),
)
def test_utf8_is_checked_as_cpython_does(data, cut):
    for piece in (data, data[: len(data) - cut]):
        assert utf8.scan_utf8(piece, 0, len(piece)) == utf8_prefix(piece)


@pytest.mark.parametrize(
    "data",
    [b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80", b"\xf5", b"\x80", b"\xfe"],
)  # fmt: skip
def test_utf8_that_is_none_is_told_at_once(data):
    assert utf8.scan_utf8(data, 0, min(len(data), 2)) == -1
    with pytest.raises(ValueError, match="UTF-8"):
        utf8.text_of(data)


# --- paths ---


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (b"/", [""]), (b"/a", ["a"]), (b"/a/", ["a", ""]), (b"/a//b", ["a", "", "b"]), (b"/a%20b/%C3%A4", ["a b",
        "ä"]),
        (b"/a/./b", ["a", "b"]), (b"/a/../b", ["b"]), (b"/a/b/..", ["a", ""]), (b"/a/.", ["a", ""]),
        (b"/a/%2e%2E/b", ["b"]),
        (b"/...", ["..."]), (b"/.well-known/x", [".well-known", "x"]),
    ],
)  # fmt: skip
def test_path_in_segments(path, parts):
    assert paths.segments(path) == parts


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"a",
        b"/..",
        b"/%2e%2e",
        b"/a/../../b",
        b"/a%2fb",
        b"/a%5Cb",
        b"/a\\b",
        b"/..\\b",
        b"/a%00",
        b"/%",
        b"/%ff",
        b"/%c0%ae%c0%ae/x",
    ],
)
def test_path_that_leads_nowhere(path):
    with pytest.raises(ValueError, match=r"path|percent|UTF-8"):
        paths.segments(path)


@given(st.lists(st.sampled_from([b"a", b"..", b".", b"%2e", b"%2E.", b"", b"b%20", b"...", b"%2e%2e%2e"]), max_size=8))
def test_path_never_leaves_the_root(parts):
    try:
        found = paths.segments(b"/" + b"/".join(parts))
    except ValueError:
        return
    assert not set(found) & {".", ".."}


# --- URLs ---


def test_url_in_its_parts():
    one = url.parse("HTTPS://user:pw@Example.COM:8443/a/./b/../c d?x=ä#frag")
    assert (one.scheme, one.host, one.port, one.path, one.query) == (
        "https",
        "example.com",
        8443,
        "/a/c%20d",
        "x=%C3%A4",
    )
    assert (one.userinfo, one.fragment, one.authority, one.target) == (
        "user:pw",
        "frag",
        "example.com:8443",
        "/a/c%20d?x=%C3%A4",
    )
    assert str(one) == "https://example.com:8443/a/c%20d?x=%C3%A4#frag"
    assert one.is_secure
    six = url.parse("http://[FD00::1]")
    assert (six.host, six.port, six.path, six.authority, six.query) == ("fd00::1", 80, "/", "[fd00::1]", None)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "ftp://a/", "http:/a", "http://", "http:///x", "http://:80/", "http://a:b/", "http://a:99999/",
        "http://a:0/",
        "http://a b/", "http://ä/", "http://[::1/", "http://[x]/", "http://a\r\nb/", "http://a/\r\nX: y",
        "http://a/\0", "http://a%41/",
        "http://a/" + "x" * 8000, "http://a\\b/", "javascript://a",
    ],
)  # fmt: skip
def test_url_that_is_refused(text):
    with pytest.raises(ValueError, match=r"URL|host|characters"):
        url.parse(text)


# RFC 3986 section 5.4.
@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("g", "http://a/b/c/g"), ("./g", "http://a/b/c/g"), ("g/", "http://a/b/c/g/"), ("/g", "http://a/g"), ("//g",
        "http://g/"),
        ("?y", "http://a/b/c/d;p?y"), ("g?y", "http://a/b/c/g?y"), ("#s", "http://a/b/c/d;p?q#s"), ("g#s",
        "http://a/b/c/g#s"),
        (";x", "http://a/b/c/;x"), ("", "http://a/b/c/d;p?q"), (".", "http://a/b/c/"), ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../../g", "http://a/g"), ("../../../g", "http://a/g"), ("/./g", "http://a/g"), ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        ("./g/.", "http://a/b/c/g/"), ("g;x=1/../y", "http://a/b/c/y"), ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("https://x/y", "https://x/y"),
        (b"/\xe4", "http://a/%E4"),
    ],
)  # fmt: skip
def test_reference_is_resolved(reference, target):
    assert str(url.join(url.parse("http://a/b/c/d;p?q"), reference)) == target


@given(st.text(max_size=30))
def test_url_of_any_text_is_one_or_a_value_error(text):
    base = url.parse("http://a/b")
    for function in (lambda: url.parse("http://" + text), lambda: url.join(base, text)):
        try:
            found = function()
        except ValueError:
            continue
        again = url.parse(str(found))
        assert (str(again), again.target, again.host) == (str(found), found.target, found.host)
        assert all(32 < ord(character) < 127 for character in str(found))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (b"a", True), (b"a:80", True), (b"a:", True), (b"[::1]:80", True), (b"1.2.3.4", True), (b"a_b", True),
        (b"", True),
        (b"a:b", False), (b"a:80:80", False), (b"[::1", False), (b"[]", False), (b"a/b", False), (b"a@b", False),
        (b"a b", False),
        (b"[::1]x", False), (b"a:-1", False), (b"a:65536", False), (b"a?", False), (b"\xe4", False), (b"a,b", True),
        (b"a\\", False),
    ],
)  # fmt: skip
def test_authority(text, good):
    assert is_authority(text) == good


# --- media types and preferences ---


def test_media_type_with_parameters():
    assert media.parse(b'Text/HTML; Charset="utf-8" ;x=y;') == (b"text/html", {b"charset": b"utf-8", b"x": b"y"})
    assert media.parse(b'form-data; name="a;b\\"c"; filename="\xc3\xa4"')[1] == {
        b"name": b'a;b"c',
        b"filename": b"\xc3\xa4",
    }


@pytest.mark.parametrize(
    "value", [b"a/b; x", b"a/b; x=", b'a/b; x="y', b'a/b; x="y"z', b"a/b; x=1; X=2", b"a/b" + b";a" * 20, b"a/b; =y"]
)
def test_media_type_that_is_malformed(value):
    with pytest.raises(ValueError, match=r"parameter|quoted"):
        media.parse(value)


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        (None, b"identity"), (b"", b"identity"), (b"gzip", b"gzip"), (b"gzip, br", b"br"),
        (b"br;q=0.5, gzip;q=0.8", b"gzip"),
        (b"*", b"br"), (b"*;q=0", None), (b"identity;q=0", None), (b"gzip;q=0", b"identity"), (b"gzip;q=0, *",
        b"br"), (b"GZIP;Q=1.0", b"gzip"),
        (b"x-gzip", b"gzip"), (b"gzip;q=2", b"identity"), (b"gzip;q=0.1234", b"identity"), (b"identity;q=1, *;q=0",
        b"identity"),
        (b"gzip;q=0.001", b"gzip"), (b"deflate", b"identity"), (b"identity, gzip;q=0.5", b"identity"),
    ],
)  # fmt: skip
def test_encoding_that_is_sent(value, chosen):
    assert media.preferred_encoding(value, (b"br", b"gzip", b"identity")) == chosen


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        (None, b"text/html"), (b"*/*", b"text/html"), (b"application/json", b"application/json"),
        (b"text/*;q=0.1, application/json", b"application/json"),
        (b"text/html;q=0, */*", b"application/json"), (b"image/png", None),
        (b"text/html;level=1;q=0.5, application/*;q=0.4", b"text/html"),
    ],
)  # fmt: skip
def test_type_that_is_sent(value, chosen):
    assert media.preferred_type(value, (b"text/html", b"application/json")) == chosen


@given(st.binary(max_size=60))
def test_preferences_of_any_octets(value):
    media.preferred_encoding(value, (b"br", b"gzip", b"identity"))
    media.preferred_type(value, (b"text/html",))
    for _, weight in media.weights(value):
        assert 0 <= weight <= 1000


# --- conditions ---

NOW = 784111777
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
TAG = b'"abc"'


@pytest.mark.parametrize(
    ("method", "have", "etag", "modified", "answer"),
    [
        (b"GET", {}, TAG, NOW, None),
        (b"GET", {"if_none_match": TAG}, TAG, NOW, 304),
        (b"HEAD", {"if_none_match": b'"x", W/"abc"'}, TAG, NOW, 304),
        (b"GET", {"if_none_match": b'"a,b", "abc"'}, TAG, NOW, 304),
        (b"GET", {"if_none_match": b'"x"'}, TAG, NOW, None),
        (b"GET", {"if_none_match": b"*"}, TAG, NOW, 304),
        (b"PUT", {"if_none_match": b"*"}, TAG, NOW, 412),
        (b"PUT", {"if_none_match": b"*"}, None, None, None),
        (b"GET", {"if_none_match": b'"x"', "if_modified_since": DATE}, TAG, NOW, None),
        (b"GET", {"if_modified_since": DATE}, TAG, NOW, 304),
        (b"GET", {"if_modified_since": EARLIER}, TAG, NOW, None),
        (b"POST", {"if_modified_since": DATE}, TAG, NOW, None),
        (b"GET", {"if_modified_since": b"nonsense"}, TAG, NOW, None),
        (b"PUT", {"if_match": TAG}, TAG, NOW, None),
        (b"PUT", {"if_match": b'"x"'}, TAG, NOW, 412),
        (b"PUT", {"if_match": b'W/"abc"'}, TAG, NOW, 412),
        (b"PUT", {"if_match": TAG}, b"W/" + TAG, NOW, 412),
        (b"GET", {"if_none_match": TAG}, b"W/" + TAG, NOW, 304),
        (b"PUT", {"if_match": b"*"}, None, None, 412),
        (b"PUT", {"if_match": b"*"}, TAG, None, None),
        (b"PUT", {"if_unmodified_since": EARLIER}, TAG, NOW, 412),
        (b"PUT", {"if_unmodified_since": DATE}, TAG, NOW, None),
        (b"PUT", {"if_match": TAG, "if_unmodified_since": EARLIER}, TAG, NOW, None),
        (b"GET", {"if_match": TAG, "if_none_match": TAG}, TAG, NOW, 304),
    ],
)
def test_condition(method, have, etag, modified, answer):
    assert conditional.evaluate(method, headers(**have), etag, modified) == answer


@pytest.mark.parametrize(
    ("value", "etag", "applies"),
    [
        (None, TAG, True), (TAG, TAG, True), (b'"x"', TAG, False), (b"W/" + TAG, b"W/" + TAG, False),
        (TAG, None, False),
        (DATE, TAG, True), (EARLIER, TAG, False), (b"nonsense", TAG, False),
    ],
)  # fmt: skip
def test_range_if_it_has_not_changed(value, etag, applies):
    have = headers(if_range=value) if value else headers()
    assert conditional.range_applies(have, etag, NOW) == applies


# --- ranges ---


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"bytes=0-0", (0, 1)), (b"bytes=0-499", (0, 500)), (b"bytes=500-", (500, 1000)), (b"bytes=-1", (999, 1000)),
        (b"bytes=-2000", (0, 1000)), (b"bytes=0-9999", (0, 1000)), (b"Bytes = 0-1".replace(b" ", b""), (0, 2)),
        (b"bytes=1000-", ranges.UNSATISFIABLE), (b"bytes=-0", ranges.UNSATISFIABLE),
        (b"bytes=2000-3000", ranges.UNSATISFIABLE),
        (b"bytes=5-4", None), (b"bytes=", None), (b"bytes=-", None), (b"bytes=a-b", None), (b"bytes=0", None),
        (b"lines=0-1", None),
        (b"bytes=0-1,5-6", None), (b"bytes=0-4,5-9", (0, 10)), (b"bytes=0-1,2000-", (0, 2)), (b"bytes=0-1,x", None),
        (b"bytes=+1-2", None),
        (b"bytes=0-1" + b",0-1" * 20, None), (b"bytes=" + b"9" * 30 + b"-", None), (b"bytes 0-1", None),
        (b"bytes=,0-1", (0, 2)),
    ],
)  # fmt: skip
def test_range(value, found):
    assert ranges.parse(value, SIZE) == found


@given(st.binary(max_size=30).map(lambda data: b"bytes=" + data), st.integers(0, 2000))
def test_range_of_any_octets_is_inside(value, size):
    found = ranges.parse(value, size)
    if found:
        assert 0 <= found[0] < found[1] <= size


def test_content_range_comes_back():
    assert ranges.content_range(0, 500, SIZE) == b"bytes 0-499/1000"
    assert ranges.content_range(None, None, SIZE) == b"bytes */1000"
    assert ranges.parse_content_range(b"bytes 0-499/1000") == (0, 500, 1000)
    assert ranges.parse_content_range(b"bytes 0-499/*") == (0, 500, None)
    for bad in (b"", b"bytes */1000", b"bytes 5-4/10", b"bytes 0-10/10", b"bytes a-b/c", b"lines 0-1/2", b"bytes 0-1/"):
        assert ranges.parse_content_range(bad) is None
