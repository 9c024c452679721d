# SPDX-License-Identifier: MIT
"""Embedded data and folders: octets in an image, as the guest finds them there."""

import base64
import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import _embedded
import pytest

from libos.hal.files import Files, embedded
from mirage_py.build import build
from mirage_py.build import embedded as building
from mirage_py.build.media_types import media_type
from mirage_py.configure.codegen import configure, refresh
from mirage_py.configure.request import Request
from mirage_py.support.errors import UserError
from mirage_py.support.progress import Progress
from tests.conftest import need

LINES = "".join(f"line {number}\n" for number in range(400)).encode()


@pytest.fixture(autouse=True)
def _table() -> Iterator[None]:
    yield
    _embedded.table.clear()


def put(top: Path, files: dict[str, bytes], modified_s: int = 1_000_000_000) -> None:
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (modified_s, modified_s))


def item(top: Path, *, compress: bool = True) -> building.Item:
    entry = {"name": "www", "folder": "www", "compress": compress}
    return building.load([entry], top / "link.json", top)[0]


def files(top: Path, *, compress: bool = True) -> Files:
    _embedded.table["www"] = building.blob(item(top, compress=compress), top / "packed")
    return Files("www", embedded("www"))


def test_a_file_has_its_octets_type_tag_and_date(tmp_path: Path) -> None:
    put(tmp_path / "www", {"index.html": "<p>ä".encode(), "a/x.bin": bytes(range(256)), "empty.txt": b""})
    found = files(tmp_path)
    page = found.lookup("/index.html")
    assert bytes(page.body) == "<p>ä".encode()
    assert (page.path, page.type) == ("/index.html", "text/html; charset=utf-8")
    assert (page.last_modified, page.modified_s) == ("Sun, 09 Sep 2001 01:46:40 GMT", 1_000_000_000)
    tag = base64.urlsafe_b64encode(hashlib.sha256("<p>ä".encode()).digest())[:16].decode()
    assert page.etag == f'"{tag}"'
    assert bytes(found.lookup("/a/x.bin").body) == bytes(range(256))
    assert found.lookup("/a/x.bin").type == "application/octet-stream"
    assert bytes(found.lookup("/empty.txt").body) == b""
    assert page.gzip is None
    assert found.lookup("/index.html") is page


def test_a_tag_is_of_the_content_alone(tmp_path: Path) -> None:
    put(tmp_path / "www", {"a": b"same", "b": b"same", "c": b"other"})
    found = files(tmp_path)
    assert found.lookup("/a").etag == found.lookup("/b").etag != found.lookup("/c").etag


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "/a/", "//a/b", "/a/../a/b", "/a/b/", "a/b", "/A/b", "/a/b\0", "/zz", "/\udcff"]
)
def test_what_is_no_key_is_not_there(tmp_path: Path, path: str) -> None:
    put(tmp_path / "www", {"a/b": b"x", "index.html": b"y"})
    if path.isascii():
        assert files(tmp_path).lookup(path) is None


def test_every_file_of_many_is_found_and_few_are_kept(tmp_path: Path) -> None:
    wanted = {f"d{number % 7}/f{number}é.txt": str(number).encode() for number in range(300)}
    put(tmp_path / "www", wanted)
    found = files(tmp_path)
    for name, content in wanted.items():
        assert bytes(found.lookup(f"/{name}").body) == content
        assert len(found._found) <= 64
    assert list(found.paths()) == sorted((f"/{name}" for name in wanted), key=str.encode)


def test_twins_are_made_of_what_gets_smaller(tmp_path: Path) -> None:
    brotli = pytest.importorskip("brotli")
    put(
        tmp_path / "www",
        {"big.txt": LINES, "small.txt": b"aaaa" * 10, "noise.bin": os.urandom(5000), "photo.jpg": LINES, "a.gz": LINES},
    )
    found = files(tmp_path)
    big = found.lookup("/big.txt")
    assert gzip.decompress(big.gzip) == brotli.decompress(bytes(big.brotli)) == LINES
    assert len(big.brotli) < len(big.gzip) < len(big.body)
    for name in ("/small.txt", "/noise.bin", "/photo.jpg", "/a.gz"):
        assert (found.lookup(name).gzip, found.lookup(name).brotli) == (None, None)
    plain = files(tmp_path, compress=False).lookup("/big.txt")
    assert (plain.gzip, plain.brotli) == (None, None)


def test_without_an_encoder_for_brotli_there_is_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "brotli", None)
    put(tmp_path / "www", {"big.txt": LINES})
    big = files(tmp_path).lookup("/big.txt")
    assert gzip.decompress(big.gzip) == LINES
    assert big.brotli is None


def test_a_blob_is_the_same_again_and_compresses_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "www", {"big.txt": LINES})
    first = building.blob(item(tmp_path), tmp_path / "packed")
    monkeypatch.setattr(building._Gzip, "__call__", lambda *_: pytest.fail("compressed again"))
    monkeypatch.setattr(building._Brotli, "__call__", lambda *_: pytest.fail("compressed again"))
    assert building.blob(item(tmp_path), tmp_path / "packed") == first
    building.forget_unused([item(tmp_path)], tmp_path / "packed")
    assert len(list((tmp_path / "packed").iterdir())) == len([encoder for encoder in building.encoders() if encoder])
    building.forget_unused([], tmp_path / "packed")
    assert list((tmp_path / "packed").iterdir()) == []


def test_the_date_is_no_later_than_the_source_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "www", {"old": b"x"}, 5)
    put(tmp_path / "www", {"new": b"x"}, 2_000_000_000)
    put(tmp_path / "www", {"before": b"x"}, -5)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    found = files(tmp_path)
    assert [found.lookup(name).modified_s for name in ("/old", "/new", "/before")] == [5, 1000, 0]


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "www", {"a": b"x" * 60, "b": b"x" * 60})
    monkeypatch.setattr(building, "MAX_BYTES", 100)
    with pytest.raises(UserError, match=r"more than 100 octets: with .*/b they are too many"):
        item(tmp_path)
    monkeypatch.setattr(building, "MAX_BYTES", 121)
    entries = [{"name": "www", "folder": "www", "compress": False}, {"name": "more", "base64": "AAAA"}]
    with pytest.raises(UserError, match="123 octets are to be embedded, 120 of them as www"):
        building.load(entries, tmp_path / "link.json", tmp_path)


@pytest.mark.parametrize("entry", [1, {}, {"name": "a"}, {"name": "a", "base64": "!"}, {"name": "a", "folder": "www"}])
def test_a_damaged_link_json_is_an_error(tmp_path: Path, entry: object) -> None:
    with pytest.raises(UserError, match=r"link\.json cannot be read"):
        building.load([entry], tmp_path / "link.json", tmp_path)


def test_media_types_are_our_own() -> None:
    assert media_type("/a.JS", b"") == "text/javascript; charset=utf-8"
    assert media_type("/a.css", b"\xff") == "text/css"
    assert media_type("/a.d/b", b"") == media_type("/a.unheard", b"") == "application/octet-stream"
    assert media_type("/a.svg", b"") == "image/svg+xml"
    assert media_type("/a.woff2", b"") == "font/woff2"


# --- images -----------------------------------------------------------------------------------------------------------

APP = """
import gc, hashlib
from binascii import hexlify
class Thing:
    def __init__(self, data):
        self.data = data
class App:
    def __init__(self, files, thing):
        self.files = files
        self.thing = thing
    async def start(self):
        gc.collect()
        before = gc.mem_alloc()
        for path in self.files.paths():
            file = self.files.lookup(path)
            print(path, len(file.body), hexlify(hashlib.sha256(file.body).digest()).decode())
        file = None
        gc.collect()
        print("heap", gc.mem_alloc() - before)
        print("thing", bytes(self.thing.data))
        for view in (self.thing.data, self.files.lookup("/a.txt").body):
            try:
                view[0] = 1
            except TypeError:
                print("read-only")
        try:
            import _embedded
            _embedded.get("other")
        except KeyError as error:
            print(repr(error))
"""
CONFIG = """
from mirage_py.dsl import Embedded, Kind, Signature, files, register, unikernel
THING = Kind(name="thing", offers=Signature("thing"), implementation="app.Thing", settings={"data": None})
register("app", unikernel("app.App", files("www"), THING(data=Embedded("secret.key", b"0123456789"))))
"""


def application(folder: Path, target: str = "unix") -> Path:
    for program, package in (("gcc", "gcc"), ("make", "make"), ("strip", "binutils")):
        need(program, package)
    folder.mkdir(parents=True)
    (folder / "app.py").write_text(APP)
    (folder / "config.py").write_text(CONFIG)
    put(folder / "www", {"a.txt": LINES, "deep/ü/photo.bin": os.urandom(1 << 20)})
    configure(Request(folder / "config.py", None, target)).plan.apply()
    return folder


def run(image: Path) -> list[str]:
    return subprocess.run([image], capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


def said(folder: Path) -> list[str]:
    top = folder / "www"
    return [
        f"/{path.relative_to(top)} {len(path.read_bytes())} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(top.rglob("*"))
        if path.is_file()
    ]


@pytest.mark.build
def test_an_image_has_the_octets_in_memory_that_is_read_only(tmp_path: Path) -> None:
    folder = application(tmp_path / 'an "odd" näme')
    lines = run(build.build(folder, progress=Progress(quiet=True)))
    assert lines[:2] == said(folder)
    # A megabyte is served, and the heap has the entries of two files.
    assert int(lines[2].split()[1]) < 2500
    assert lines[3:] == ["thing b'0123456789'", "read-only", "read-only", "KeyError('other',)"]


@pytest.mark.build
def test_make_reads_the_folder_anew(tmp_path: Path) -> None:
    folder = application(tmp_path / "app")
    quiet = Progress(quiet=True)

    def made() -> list[str]:
        refresh(folder)
        return run(build.build(folder, progress=quiet))[: len(said(folder))]

    assert made() == said(folder)
    image = folder / "dist" / "app"
    before = image.stat().st_mtime_ns
    assert made() == said(folder)
    assert image.stat().st_mtime_ns == before, "nothing has changed, and it was built again"
    (folder / "www" / "a.txt").write_bytes(b"edited")
    assert made() == said(folder)
    assert image.stat().st_mtime_ns != before
    put(folder / "www", {"a.txt": b"edited", "new.txt": b"new"})
    shutil.rmtree(folder / "www" / "deep")
    assert made() == said(folder)
    assert len(said(folder)) == 2
    (folder / "www" / "a.txt").unlink()
    (folder / "www" / "new.txt").unlink()
    with pytest.raises(UserError, match="www has no files"):
        refresh(folder)
    shutil.rmtree(folder / "www")
    with pytest.raises(UserError, match="there is no folder"):
        refresh(folder)


@pytest.mark.build
def test_the_same_folder_is_the_same_image(tmp_path: Path) -> None:
    one = build.build(application(tmp_path / "one"), progress=Progress(quiet=True))
    shutil.copytree(tmp_path / "one" / "www", tmp_path / "two" / "www", copy_function=shutil.copy2)
    shutil.copy(tmp_path / "one" / "app.py", tmp_path / "two")
    shutil.copy(tmp_path / "one" / "config.py", tmp_path / "two")
    configure(Request(tmp_path / "two" / "config.py", None, "unix")).plan.apply()
    two = build.build(tmp_path / "two", progress=Progress(quiet=True))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.build
def test_an_image_with_a_secret_is_nobody_elses(tmp_path: Path) -> None:
    """Nor is anything else that has it; and an image that has none any more is everybody's again."""
    folder = application(tmp_path / "app")
    quiet = Progress(quiet=True)
    plain = build.build(folder, progress=quiet)
    assert plain.stat().st_mode & 0o777 == 0o777 & ~umask()
    config = folder / "config.py"
    config.write_text(CONFIG.replace('b"0123456789"', 'b"top secret", is_secret=True'))
    refresh(folder)
    image = build.build(folder, progress=quiet)
    assert image.stat().st_mode & 0o777 == 0o700
    assert "thing b'top secret'" in run(image)
    having = [path for path in folder.rglob("*") if path.is_file() and has_secret(path)]
    assert {path.name for path in having} >= {"app", "app.debug", "link.json"}
    for path in having:
        if path != config:
            assert path.stat().st_mode & 0o077 == 0, path
    config.write_text(CONFIG)
    refresh(folder)
    assert build.build(folder, progress=quiet).stat().st_mode & 0o777 == 0o777 & ~umask()


def umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def has_secret(path: Path) -> bool:
    data = path.read_bytes()
    return b"top secret" in data or base64.b64encode(b"top secret") in data
