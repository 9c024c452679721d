# SPDX-License-Identifier: MIT
"""The pinned source: taken from a tree, from an archive, from apt; verified, and nothing unverified taken."""

import hashlib
import io
import re
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mirage_py.build import sources
from mirage_py.build.sources import MICROPYTHON, PinnedSource
from mirage_py.support import apt, process
from mirage_py.support.cache import Cache
from mirage_py.support.errors import UserError
from mirage_py.support.progress import Progress

CONTENT = {"py/gc.c": b"int gc;\n", "tools/mpy-tool.py": b"print()\n", "LICENSE": b"MIT\n"}


class Fake(PinnedSource):
    """A source of three files."""

    manifest = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}  # type: ignore[assignment]  # noqa: RUF012


SOURCE = Fake("micropython", "1.25.0", "trixie", "micropython", option="--micropython")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache dir", Progress(quiet=True))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "bäum with space"
    for name, content in {**CONTENT, "ports/other.c": b"unused"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def archive_of(tree: Path, target: Path, top: str = "any-top-folder") -> Path:
    with tarfile.open(target, "w:xz") as tar:
        tar.add(tree, top)
    return target


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], **_: object) -> process.Result:
        raise UserError(f"{argv[0]} is not installed")

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr("shutil.which", lambda program: None)


def test_the_manifest_lists_what_a_build_needs() -> None:
    assert {"py/py.mk", "py/gc.c", "extmod/asyncio/core.py", "tools/mpy-tool.py", "LICENSE"} <= set(
        MICROPYTHON.manifest
    )
    assert all(len(digest) == 64 for digest in MICROPYTHON.manifest.values())
    assert list(MICROPYTHON.manifest) == sorted(MICROPYTHON.manifest)


def test_only_the_listed_files_of_a_tree_are_taken(cache: Cache, tree: Path) -> None:
    assert files(sources.obtain(SOURCE, cache, tree)) == CONTENT


def test_once_cached_neither_tree_nor_network_is_needed(
    cache: Cache, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not sources.is_cached(SOURCE, cache)
    entry = sources.obtain(SOURCE, cache, tree)
    no_apt(monkeypatch)
    assert sources.obtain(SOURCE, cache) == entry
    assert sources.is_cached(SOURCE, cache)


def test_a_tree_of_another_version_is_refused_and_the_file_named(cache: Cache, tree: Path) -> None:
    (tree / "py" / "gc.c").write_text("int gc2;\n")
    with pytest.raises(UserError, match=r"is not the source of micropython 1\.25\.0: py/gc\.c differs"):
        sources.obtain(SOURCE, cache, tree)
    (tree / "py" / "gc.c").unlink()
    with pytest.raises(UserError, match=r"py/gc\.c: No such file"):
        sources.obtain(SOURCE, cache, tree)
    with pytest.raises(UserError, match="is not a directory"):
        sources.obtain(SOURCE, cache, tree / "nowhere")


def test_a_wrong_tree_is_refused_although_the_cache_is_filled(cache: Cache, tree: Path) -> None:
    sources.obtain(SOURCE, cache, tree)
    (tree / "LICENSE").write_text("other")
    with pytest.raises(UserError, match="LICENSE differs"):
        sources.obtain(SOURCE, cache, tree)


def test_a_corrupted_cache_is_noticed_and_fetched_again(cache: Cache, tree: Path) -> None:
    entry = sources.obtain(SOURCE, cache, tree)
    (entry / "py" / "gc.c").write_text("int gb;\n")
    assert not sources.is_cached(SOURCE, cache)
    assert files(sources.obtain(SOURCE, cache, tree)) == CONTENT


def test_an_archive_with_the_same_files_will_do(tmp_path: Path, tree: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    sources.extract(SOURCE, archive_of(tree, tmp_path / "a.tar.xz"), target)
    assert files(target) == CONTENT


def spoil_content(tree: Path) -> None:
    (tree / "py" / "gc.c").write_text("evil")


def spoil_missing(tree: Path) -> None:
    (tree / "LICENSE").unlink()


def spoil_link(tree: Path) -> None:
    (tree / "LICENSE").unlink()
    (tree / "LICENSE").symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_content, r"py/gc\.c differs"),
        (spoil_missing, "LICENSE is missing"),
        (spoil_link, "LICENSE (is missing|differs)"),
    ],
)
def test_an_archive_with_other_files_is_refused(
    tmp_path: Path, tree: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tree)
    with pytest.raises(UserError, match=message):
        sources.extract(SOURCE, archive_of(tree, tmp_path / "a.tar.xz"), tmp_path)


def test_paths_that_lead_outside_are_not_followed(tmp_path: Path, tree: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tree, "top")
        member = tarfile.TarInfo("top/../../evil")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    target = tmp_path / "a" / "b"
    target.mkdir(parents=True)
    sources.extract(SOURCE, archive, target)
    assert files(target) == CONTENT
    assert not list(tmp_path.rglob("evil"))


def test_a_truncated_archive_is_refused_or_whole_where_it_matters(tmp_path: Path, tree: Path) -> None:
    content = archive_of(tree, tmp_path / "a.tar.xz").read_bytes()
    cut = tmp_path / "cut.tar.xz"
    for length in range(0, len(content), 16):
        cut.write_bytes(content[:length])
        with suppress(UserError):
            sources.extract(SOURCE, cut, tmp_path / "out")
            assert files(tmp_path / "out") == CONTENT
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot be read|is missing"):
        sources.extract(SOURCE, cut, tmp_path / "out")


def test_without_cache_and_apt_the_remedy_is_a_tree(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    no_apt(monkeypatch)
    with pytest.raises(UserError) as caught:
        sources.obtain(SOURCE, cache)
    assert "is not in the cache" in caught.value.cause
    assert "--micropython DIR" in caught.value.remedy
    assert not list((cache.root / "tmp").iterdir())


class FakeApt:
    """Plays apt-get: what it was called with, and what it answers."""

    def __init__(self, tree: Path, target_release: str = "Debian Debian") -> None:
        self.tree = tree
        self.release = target_release
        self.calls: list[list[str]] = []
        self.update_error = ""
        self.sources_list = ""
        self.configuration = ""

    def __call__(self, argv: list[str | Path], **options: object) -> process.Result:
        words = [str(word) for word in argv]
        self.calls.append(words)
        if "indextargets" in words:
            return process.Result(0, f"http://mirror.example/debian/ {self.release}\n" * 2, "")
        if "--print-uris" in words:
            return process.Result(0, "'http://m.example/debian/dists/bookworm/InRelease' m_InRelease 0 \n", "")
        configuration = Path(words[words.index("-c") + 1])
        self.configuration = configuration.read_text()
        self.sources_list = (configuration.parent / "sources.list").read_text()
        if "update" in words:
            return process.Result(100 if self.update_error else 0, "", self.update_error)
        assert "source" in words
        cwd = options["cwd"]
        assert isinstance(cwd, Path)
        archive_of(self.tree, cwd / "micropython_1.25.0+ds.orig.tar.xz")
        (cwd / "micropython_1.25.0+ds-1.dsc").write_text("")
        return process.Result(0, "", "")


@pytest.fixture
def fake_apt(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    fake = FakeApt(tree)
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr(process, "run", fake)
    monkeypatch.setattr(apt, "_KEYRINGS", (keyring,))
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    return fake


def test_apt_works_in_a_private_state_with_the_systems_mirror(cache: Cache, fake_apt: FakeApt, tmp_path: Path) -> None:
    assert files(sources.obtain(SOURCE, cache)) == CONTENT
    line = f"deb-src [signed-by={tmp_path}/keyring.gpg] http://mirror.example/debian/ trixie main\n"
    assert fake_apt.sources_list == line
    for setting in (
        "Dir::State ",
        "Dir::State::status ",
        "Dir::Cache ",
        "Dir::Etc::sourceparts ",
        "#clear APT::Update",
    ):
        assert setting in fake_apt.configuration
    assert not list((cache.root / "tmp").iterdir())


def test_a_system_without_lists_gets_the_address_from_a_planned_update(cache: Cache, fake_apt: FakeApt) -> None:
    fake_apt.release = "Ubuntu Ubuntu"
    sources.obtain(SOURCE, cache)
    assert " http://m.example/debian/ trixie main" in fake_apt.sources_list


def test_offline_is_one_line_without_addresses(cache: Cache, fake_apt: FakeApt) -> None:
    fake_apt.update_error = "E: Failed to fetch http://mirror.example/x  Could not resolve 'mirror.example'\n"
    with pytest.raises(UserError) as caught:
        sources.obtain(SOURCE, cache)
    assert "no connection to the mirror" in caught.value.cause
    assert "mirror.example" not in str(caught.value)
    assert "--micropython DIR" in caught.value.remedy


def test_a_bad_signature_is_reported(cache: Cache, fake_apt: FakeApt) -> None:
    fake_apt.update_error = "E: The repository 'http://mirror.example/debian trixie InRelease' is not signed.\n"
    with pytest.raises(UserError, match=r"The repository 'the mirror trixie InRelease' is not signed"):
        sources.obtain(SOURCE, cache)


def test_an_archive_with_other_content_is_refused(cache: Cache, fake_apt: FakeApt, tree: Path) -> None:
    spoil_content(tree)
    with pytest.raises(UserError, match=r"py/gc\.c differs"):
        sources.obtain(SOURCE, cache)
    assert not sources.is_cached(SOURCE, cache)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["http://a/debian", "http://a/debian/"], ["http://a/debian/"]),
        (["http://a/debian-security/", "http://a/debian/"], ["http://a/debian/"]),
        (["cdrom:[Debian]/", "file:/srv/debian/"], ["file:/srv/debian/"]),
        (["http://a/ubuntu/"], []),
    ],
)
def test_only_main_archives_are_asked(addresses: list[str], expected: list[str]) -> None:
    assert apt._usable_mirrors(addresses) == expected


def test_the_environment_gives_a_tree_and_the_option_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MIRAGE_PY_MICROPYTHON", raising=False)
    assert sources.given_directory(None) is None
    monkeypatch.setenv("MIRAGE_PY_MICROPYTHON", str(tmp_path))
    assert sources.given_directory(None) == tmp_path
    assert sources.given_directory(Path("/other")) == Path("/other")


FURTHER = Fake("nss", "3.110", "trixie", "nss", "MIRAGE_PY_NSS")


def test_a_further_source_comes_from_the_tree_that_the_environment_names(
    cache: Cache, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_apt(monkeypatch)
    monkeypatch.setenv("MIRAGE_PY_NSS", str(tree))
    assert files(sources.obtain(FURTHER, cache)) == CONTENT
    monkeypatch.delenv("MIRAGE_PY_NSS")
    assert files(sources.obtain(FURTHER, cache)) == CONTENT, "from the cache, without a connection"


def test_a_further_source_from_another_tree_is_refused(
    cache: Cache, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "py/gc.c").write_bytes(b"int other;\n")
    monkeypatch.setenv("MIRAGE_PY_NSS", str(tree))
    with pytest.raises(UserError, match=r"py/gc\.c differs"):
        sources.obtain(FURTHER, cache)


def test_a_further_source_that_cannot_be_fetched_names_the_variable(cache: Cache, fake_apt: FakeApt) -> None:
    fake_apt.update_error = "E: Failed to fetch http://mirror.example/x  Could not resolve 'mirror.example'\n"
    with pytest.raises(UserError) as caught:
        sources.obtain(FURTHER, cache)
    assert caught.value.remedy.endswith("or give a tree with MIRAGE_PY_NSS=DIR")


@pytest.mark.parametrize("source", sources.ALL, ids=lambda source: source.name)
def test_manifests_are_sorted_and_name_each_file_once(source: PinnedSource) -> None:
    assert list(source.manifest) == sorted(source.manifest)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in source.manifest.values())
