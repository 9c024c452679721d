# SPDX-License-Identifier: MIT
"""Folders: what is embedded, over HTTP."""

import gzip
import os
from pathlib import Path
from typing import Any

import _embedded
import pytest

from libos.hal.files import Files, embedded
from mirage_py.build import embedded as building
from tests.web.site import HOST, Site, check

LINES = "".join(f"line {number}\n" for number in range(2000)).encode()
MODIFIED = "Sun, 09 Sep 2001 01:46:40 GMT"
WWW = {
    "index.html": b"<p>home",
    "404.html": b"<p>nowhere",
    "lines.txt": LINES,
    "photo.jpg": bytes(range(256)) * 100,
    "empty.txt": b"",
    "sub/index.html": b"<p>sub",
    "sub/a b/ü.txt": b"odd",
    "bare/file.txt": b"file",
    "secret%2e.txt": b"percent",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    top = tmp_path_factory.mktemp("site")
    for name, content in WWW.items():
        path = top / "www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (10**9, 10**9))
    entry = {"name": "www", "folder": "www", "compress": True}
    _embedded.table["www"] = building.blob(building.load([entry], top / "link.json", top)[0], Path(top / "packed"))
    return Files("www", embedded("www"))


def ask(files: Any, path: str, headers: bytes = b"", method: bytes = b"GET", prefix: str = "/", **options: Any) -> Any:
    async def story(site: Site) -> Any:
        site.server.folder(prefix, files, **options)
        site.server.route("GET", "/api", lambda request: "api")
        client = site.connect()
        answers = [await client.get(path, headers, method) for _ in range(3)]
        assert [answer.body for answer in answers] == [answers[0].body] * 3
        assert [answer.headers for answer in answers] == [answers[0].headers] * 3
        return answers[0]

    return check(Site(), story)


def test_a_file_is_served_with_what_the_tool_knows_of_it(files: Any) -> None:
    answer = ask(files, "/photo.jpg")
    assert (answer.status, answer.body) == (200, WWW["photo.jpg"])
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["last-modified"] == MODIFIED
    assert answer.headers["etag"] == files.lookup("/photo.jpg").etag
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "vary" not in answer.headers
    assert ask(files, "/photo.jpg", max_age_s=60).headers["cache-control"] == "max-age=60"


def test_an_empty_file_and_head(files: Any) -> None:
    assert (ask(files, "/empty.txt").status, ask(files, "/empty.txt").body) == (200, b"")
    answer = ask(files, "/lines.txt", method=b"HEAD")
    assert (answer.headers["content-length"], answer.body) == (str(len(LINES)), b"")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", b"<p>home"),
        ("/index.html", b"<p>home"),
        ("/?x=1", b"<p>home"),
        ("/sub/", b"<p>sub"),
        ("/sub/a%20b/%C3%BC.txt", b"odd"),
        ("/sub/../sub/./index.html", b"<p>sub"),
        ("/secret%252e.txt", b"percent"),
        ("/bare/file.txt", b"file"),
        ("/api", b"api"),
    ],
)
def test_paths_lead_to_files(files: Any, path: str, body: bytes) -> None:
    answer = ask(files, path)
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    "path", ["/nope", "/bare/", "/bare", "/sub//index.html", "//sub/", "/Sub/", "/lines.txt/", "/secret%2e.txt", "/404"]
)
def test_what_is_not_there_is_404_with_its_page(files: Any, path: str) -> None:
    answer = ask(files, path)
    assert (answer.status, answer.body) == (404, b"<p>nowhere")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/sub/../../etc/passwd",
        "/%2e%2e/x",
        "/sub/%2e%2e%2f%2e%2e/x",
        "/..%5cx",
        "/sub/..;/x",
        "/%c0%ae%c0%ae/x",
        "/index.html%00.txt",
        "/..%00/",
    ],
)
def test_there_is_nothing_to_climb_to(files: Any, path: str) -> None:
    assert ask(files, path).status in (400, 404)


def test_missing_paths_are_not_remembered(files: Any) -> None:
    async def story(site: Site) -> None:
        site.server.folder("/", files)
        client = site.connect()
        for number in range(300):
            assert (await client.get(f"/nope{number}")).status == 404
        assert site.server.known == {}

    check(Site(), story)


def test_a_folder_leads_behind_its_slash(files: Any) -> None:
    answer = ask(files, "/sub?a=1")
    assert (answer.status, answer.headers["location"]) == (308, "/sub/?a=1")
    assert ask(files, "//sub").status == 404  # and not to a host called sub
    assert ask(files, "/docs/sub", prefix="/docs").headers["location"] == "/docs/sub/"


def test_a_folder_may_be_below_a_prefix(files: Any) -> None:
    assert ask(files, "/docs/", prefix="/docs").body == b"<p>home"
    assert ask(files, "/docs/lines.txt", prefix="/docs/").body == LINES
    assert ask(files, "/docs/nope", prefix="/docs/").body == b"<p>nowhere"
    assert ask(files, "/lines.txt", prefix="/docs/").body == b"404 Not Found\n"


def test_only_reading_is_allowed(files: Any) -> None:
    answer = ask(files, "/lines.txt", method=b"PUT")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


# --- twins ------------------------------------------------------------------------------------------------------------


def test_a_twin_goes_to_who_takes_it(files: Any) -> None:
    brotli = pytest.importorskip("brotli")
    plain = ask(files, "/lines.txt")
    assert plain.headers["vary"] == "Accept-Encoding"
    zipped = ask(files, "/lines.txt", b"Accept-Encoding: gzip, deflate\r\n")
    assert (zipped.headers["content-encoding"], gzip.decompress(zipped.body)) == ("gzip", LINES)
    smaller = ask(files, "/lines.txt", b"Accept-Encoding: gzip, deflate, br\r\n")
    assert (smaller.headers["content-encoding"], brotli.decompress(smaller.body)) == ("br", LINES)
    tags = {answer.headers["etag"] for answer in (plain, zipped, smaller)}
    assert len(tags) == 3
    assert smaller.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("accepts", [b"identity", b"br;q=0, gzip;q=0", b"", b"zstd", b"*;q=0, identity;q=1"])
def test_the_file_itself_goes_to_who_does_not(files: Any, accepts: bytes) -> None:
    answer = ask(files, "/lines.txt", b"Accept-Encoding: " + accepts + b"\r\n")
    assert (answer.body, answer.headers.get("content-encoding")) == (LINES, None)


def test_the_page_of_404_has_no_twin_that_is_too_small(files: Any) -> None:
    assert ask(files, "/nope", b"Accept-Encoding: gzip\r\n").body == b"<p>nowhere"


# --- conditions -------------------------------------------------------------------------------------------------------


def test_who_has_it_gets_304(files: Any) -> None:
    tag = files.lookup("/lines.txt").etag.encode()
    for header in (
        b"If-None-Match: " + tag,
        b'If-None-Match: "x", W/' + tag,
        b"If-None-Match: *",
        b"If-Modified-Since: " + MODIFIED.encode(),
    ):
        answer = ask(files, "/lines.txt", header + b"\r\n")
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag.decode()), header
        assert answer.headers["vary"] == "Accept-Encoding"
    for header in (b'If-None-Match: "x"', b"If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT", b"If-Modified-Since: x"):
        assert ask(files, "/lines.txt", header + b"\r\n").status == 200


def test_the_tag_of_a_twin_is_of_the_twin(files: Any) -> None:
    tag = files.lookup("/lines.txt").etag.encode()
    assert ask(files, "/lines.txt", b"Accept-Encoding: gzip\r\nIf-None-Match: " + tag + b"\r\n").status == 200
    twin = tag[:-1] + b'-gz"'
    assert ask(files, "/lines.txt", b"Accept-Encoding: gzip\r\nIf-None-Match: " + twin + b"\r\n").status == 304


def test_who_supposes_what_is_not_so_gets_412(files: Any) -> None:
    assert ask(files, "/lines.txt", b'If-Match: "x"\r\n').status == 412
    assert ask(files, "/lines.txt", b"If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n").status == 412


# --- ranges -----------------------------------------------------------------------------------------------------------

PHOTO = WWW["photo.jpg"]


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        (b"0-0", 0, 1),
        (b"0-", 0, len(PHOTO)),
        (b"100-199", 100, 200),
        (b"-5", len(PHOTO) - 5, len(PHOTO)),
        (b"-999999", 0, len(PHOTO)),
        (b"25000-99999", 25000, len(PHOTO)),
    ],
)
def test_a_part_is_sent(files: Any, wanted: bytes, start: int, end: int) -> None:
    answer = ask(files, "/photo.jpg", b"Range: bytes=" + wanted + b"\r\n")
    assert (answer.status, answer.body) == (206, PHOTO[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(PHOTO)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("wanted", [b"bytes=5-4", b"lines=0-1", b"bytes=", b"bytes=a-b", b"bytes=0-1,5-6"])
def test_what_is_no_range_of_ours_is_answered_with_all(files: Any, wanted: bytes) -> None:
    answer = ask(files, "/photo.jpg", b"Range: " + wanted + b"\r\n")
    assert (answer.status, answer.body) == (200, PHOTO)


def test_a_range_beyond_the_end_is_416(files: Any) -> None:
    answer = ask(files, "/photo.jpg", b"Range: bytes=25600-\r\n")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */25600")
    assert ask(files, "/empty.txt", b"Range: bytes=0-\r\n").status == 416


def test_if_range_and_parts_of_what_has_twins(files: Any) -> None:
    tag = files.lookup("/lines.txt").etag.encode()
    headers = b"Range: bytes=0-5\r\nAccept-Encoding: gzip, br\r\nIf-Range: "
    answer = ask(files, "/lines.txt", headers + tag + b"\r\n")
    assert (answer.status, answer.body) == (206, LINES[:6])
    assert "content-encoding" not in answer.headers
    assert ask(files, "/lines.txt", headers + b'"x"\r\n').status == 200
    assert ask(files, "/lines.txt", b"Range: bytes=0-5\r\n", method=b"HEAD").status == 200


# --- no copies --------------------------------------------------------------------------------------------------------


def test_a_large_file_is_handed_to_the_flow_as_it_lies(files: Any) -> None:
    body = files.lookup("/photo.jpg").body

    async def story(site: Site) -> None:
        site.server.folder("/", files)
        client = site.connect()
        end = site.stack.server_ends[0]
        written = []
        write = end.write

        async def spy(data: Any) -> None:
            written.append(data)
            await write(data)

        end.write = spy  # type: ignore[method-assign]
        await client.send(b"GET /photo.jpg HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.answer()).body == body
        assert any(data is body for data in written)

        # A larger one goes in pieces, which its file hands out.
        asked = []

        class Large:
            body = gzip = b"x" * 200000
            brotli = None
            path, type, etag, last_modified, modified_s = "/large", "text/plain", '"a"', MODIFIED, 10**9

            def part(self, start: int, end: int, which: int = 0) -> bytes:
                asked.append((start, end, which))
                return self.body[start:end]

        class Folder:
            def lookup(self, path: str) -> Any:
                return Large() if path == "/large" else None

        site.server.folder("/more/", Folder())
        for headers, which in ((b"", 0), (b"Accept-Encoding: gzip\r\n", 1)):
            asked.clear()
            assert len((await client.get("/more/large", headers)).body) == 200000
            assert asked == [(n, min(n + 65536, 200000), which) for n in range(0, 200000, 65536)]
        asked.clear()
        assert len((await client.get("/more/large", b"Range: bytes=1000-99999\r\n")).body) == 99000
        assert asked == [(1000, 100000, 0), (1000, 66536, 0), (66536, 100000, 0)]

    check(Site(), story)
