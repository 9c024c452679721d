# SPDX-License-Identifier: MIT
"""tls() in a config.py: which devices it makes, what is embedded, told and refused, and where keys are not."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from libos.tls.identity import EmbeddedIdentities
from libos.tls.x509.trust import Trust
from mirage_py.cli.commands import cli
from mirage_py.configure import codegen, config_file
from mirage_py.configure.codegen import Configuration
from mirage_py.configure.graph import Graph
from mirage_py.configure.request import Request
from mirage_py.configure.tls import certificates, development, making, octets
from mirage_py.support.errors import UserError
from tests.tls.reference_crypto import reference_crypto

APPLICATION = """
class App:
    def __init__(self, stack):
        self.stack = stack

    async def start(self):
        await self.stack.listen()
"""


class Site:
    """An application's directory, with tls(generic_stack(), ...) in its config.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "app.py").write_text(APPLICATION)
        self.config("")

    def config(self, arguments: str) -> Site:
        (self.folder / "config.py").write_text(
            "from mirage_py.dsl import *\n"
            f'register("site", unikernel("app.App", tls(generic_stack(){", " if arguments else ""}{arguments})))\n'
        )
        return self

    def configure(self, **values: str) -> Configuration:
        named = {name.replace("_", "-"): value for name, value in values.items()}
        return codegen.configure(Request(self.folder / "config.py", None, "unix", {"net": "socket", **named}))

    def graph(self, **values: str) -> Graph:
        """The devices alone, which is quicker."""
        named = {name.replace("_", "-"): value for name, value in values.items()}
        request = Request(self.folder / "config.py", None, "unix", {"net": "socket", **named})
        return codegen.make_graph(request, config_file.load(request.config))

    def apply(self, **values: str) -> Configuration:
        configuration = self.configure(**values)
        configuration.plan.apply()
        return configuration

    def refused(self, **values: str) -> str:
        with pytest.raises(UserError) as caught:
            self.configure(**values)
        text = str(caught.value)
        assert "\n" not in text
        assert caught.value.remedy
        return text

    def make(self, *names: str, **how: Any) -> None:
        making.make(making.Order(self.folder, names, **how))

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "-t", "unix", "-f", str(self.folder / "config.py")])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def file(configuration: Configuration, path: str) -> Any:
    return next(file for file in configuration.plan.files if file.path == path)


def main_of(configuration: Configuration) -> str:
    text: str = file(configuration, "mirage/main.py").text
    return text


def embedded(configuration: Configuration, prefix: str) -> list[bytes]:
    entries = json.loads(file(configuration, "mirage/link.json").text)["embedded"]
    return [base64.b64decode(entry["base64"]) for entry in entries if entry["name"].startswith(prefix)]


def modules(configuration: Configuration) -> set[str]:
    return {module.name.removesuffix(".py").replace("/", ".") for module in configuration.resolution.modules}


def kinds(configuration: Configuration) -> list[str]:
    return [placed.kind.name for placed in configuration.graph.devices]


# --- a certificate for development ---


def test_certificate_for_development(site: Site) -> None:
    first = site.apply(net="direct")
    names = {"mirage/ca.pem": 0o644, "mirage/ca.key": 0o600, "mirage/server.pem": 0o644, "mirage/server.key": 0o600}
    for path, mode in {**names, "mirage/link.json": 0o600, "mirage/config.json": 0o644}.items():
        assert stat.S_IMODE((site.folder / path).stat().st_mode) & 0o700 | mode & 0o77 == mode, path
    mirage = site.folder / "mirage"
    identity = certificates.read_identity(mirage / "server.pem", mirage / "server.key")
    assert certificates.names_of(identity.leaf) == ["localhost", "127.0.0.1", "::1", "10.0.0.2"]
    assert certificates.has_issued(certificates.read_chain(mirage / "ca.pem")[0], identity.leaf)
    ends = certificates.day(identity.ends)
    assert any("development (made now)" in note and f"holds until {ends}" in note for note in first.notes)
    assert any("mirage/ca.pem (made now: give it to curl --cacert" in note for note in first.notes)
    (blob,) = embedded(first, "tls/identity-")
    (own,) = EmbeddedIdentities(reference_crypto(), [blob])
    assert own.chain == [certificates.der(identity.leaf)]
    assert own.names == ["localhost"]


def test_certificate_for_development_is_kept(site: Site) -> None:
    site.apply()
    before = {path: path.read_bytes() for path in (site.folder / "mirage").iterdir() if path.is_file()}
    second = site.apply()
    assert before == {path: path.read_bytes() for path in (site.folder / "mirage").iterdir() if path.is_file()}
    assert any("development (kept)" in note for note in second.notes)
    assert any("ca.pem (kept)" in note for note in second.notes)


def test_certificate_for_development_is_renewed(site: Site) -> None:
    """Its names, its time, its key or its authority: what does not fit any more is made anew, and nothing else."""
    mirage = site.folder / "mirage"

    def state() -> list[bytes]:
        site.apply()
        return [(mirage / name).read_bytes() for name in ("ca.pem", "server.pem")]

    ca, leaf = state()
    site.apply(net="direct", ipv4="10.9.9.9/24")
    assert (mirage / "ca.pem").read_bytes() == ca
    assert certificates.names_of(certificates.read_chain(mirage / "server.pem")[0])[-1] == "10.9.9.9"
    assert state()[0] == ca
    (mirage / "server.key").write_bytes((mirage / "ca.key").read_bytes())
    again = state()
    assert again[0] == ca
    assert again[1] != leaf
    (mirage / "ca.key").unlink()
    third = state()
    assert third[0] != ca
    assert third[1] != again[1]
    (mirage / "ca.pem").write_text("# Generated by mirage-py: damaged\n")
    assert state()[0] != third[0]


def test_certificate_for_development_that_expires(tmp_path: Path) -> None:
    when = certificates.now()
    first = development.obtain(tmp_path, ["localhost"], when)
    for planned in first.files:
        (tmp_path / planned.path).parent.mkdir(exist_ok=True)
        (tmp_path / planned.path).write_text(planned.text)
    for later, is_new, is_new_authority in [
        (75, False, False),
        (77, True, False),
        (3559, True, False),
        (3561, True, True),
    ]:
        found = development.obtain(tmp_path, ["localhost"], when + later * certificates._DAY)
        assert (found.is_new, found.is_new_authority) == (is_new, is_new_authority), later
        assert found.identity.ends > when + later * certificates._DAY
    other = development.obtain(tmp_path, ["www.mine.org"], when)
    assert other.is_new_authority


def test_files_of_a_users_are_not_overwritten(site: Site) -> None:
    (site.folder / "mirage").mkdir()
    (site.folder / "mirage" / "ca.pem").write_text("mine")
    with pytest.raises(UserError, match=r"ca\.pem is in the way"):
        site.apply()
    assert [path.name for path in (site.folder / "mirage").iterdir()] == ["ca.pem"]
    (site.folder / "mirage" / "ca.pem").unlink()
    site.apply()
    (site.folder / "mirage" / "server.key").write_text("mine")
    with pytest.raises(UserError, match=r"server\.key is in the way"):
        codegen.refresh(site.folder)


def test_warnings_come_again_when_it_is_built(site: Site) -> None:
    site.apply(tls_key_log="on")
    told: list[str] = []
    warned: list[str] = []
    codegen.refresh(site.folder, told.append, warned.append)
    assert any("certificate for development (kept)" in text for text in told)
    assert [text for text in warned if "--tls-key-log on" in text] == warned != []


def test_nothing_is_written_for_describe_and_dry_run(site: Site) -> None:
    for words in (["describe"], ["query", "devices"], ["configure", "--dry-run"], ["configure", "--help"]):
        assert site.run(*words).exit_code == 0
    assert not (site.folder / "mirage").exists()


def test_clean_removes_it(site: Site) -> None:
    site.apply()
    codegen.remove_generated(site.folder)
    assert not list(site.folder.glob("mirage/*.pem")) + list(site.folder.glob("mirage/*.key"))


# --- certificates that a user brings ---


def test_files(site: Site) -> None:
    site.make("a.test", "10.0.0.9")
    configuration = site.config('certificate="site.pem", key="site.key"').configure()
    (blob,) = embedded(configuration, "tls/identity-")
    assert EmbeddedIdentities(reference_crypto(), [blob])[0].names == ["a.test"]
    assert any(f"{site.folder}/site.pem: for a.test, 10.0.0.9, holds until 20" in note for note in configuration.notes)
    assert configuration.cautions == ()
    assert not [planned for planned in configuration.plan.files if planned.path.endswith((".pem", ".key"))]
    assert "identities0 = EmbeddedIdentities(" in main_of(configuration)


def test_one_file_with_both(site: Site) -> None:
    site.make()
    both = (site.folder / "site.pem").read_bytes() + (site.folder / "site.key").read_bytes()
    (site.folder / "both.pem").write_bytes(both)
    os.chmod(site.folder / "both.pem", 0o600)
    assert embedded(site.config('certificate="both.pem"').configure(), "tls/identity-")


def test_several_certificates(site: Site) -> None:
    site.make("a.test")
    site.make("b.test", name="b")
    configuration = site.config('certificate=["site.pem", "b.pem"], key=["site.key", "b.key"]').configure()
    blobs = embedded(configuration, "tls/identity-")
    names = {own.names[0] for own in EmbeddedIdentities(reference_crypto(), blobs)}
    assert names == {"a.test", "b.test"}
    assert len(blobs) == 2


def test_files_count_from_config_py(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.make()
    site.config('certificate="site.pem", key="site.key"')
    monkeypatch.chdir("/")
    assert embedded(site.configure(), "tls/identity-")


def test_files_that_do_not_fit(site: Site) -> None:
    site.config('certificate="site.pem", key="site.key"')
    text = site.refused()
    assert text.startswith(f"config.py:2: there is no certificate {site.folder}/site.pem; ")
    site.make()
    site.make(name="other")
    assert "is not that of the certificate" in site.config('certificate="site.pem", key="other.key"').refused()
    for arguments, cause in [
        ('key="site.key"', "key without certificate"),
        ('certificate="development", key="site.key"', "key without certificate"),
        ('certificate=["site.pem", "other.pem"], key="site.key"', "2 certificates and 1 keys"),
        ("certificate=[]", "is not the name of a file"),
        ("certificate=5, key=6", ""),
        ('certificate="site.pem", key="site.key", client_auth="optional"', "client_auth without client_ca"),
        ('client_ca="ca.pem", trust="ca.pem"', "client_ca without certificate"),
        ('client_ca="ca.pem", client_auth="maybe"', "client_auth='maybe'"),
        ('client_certificate="site.pem", client_key="site.key"', "is not for a TLS client"),
        ('trust=""', "is not the name of a file"),
        ('trust="nothing.pem"', "there is no certificate"),
        ('pins=["12"]', "is not a pin"),
        ('alpn=["é"]', "is not the name of a protocol"),
        ('alpn="h2"', "is one name"),
        ('timeout_ms="3s"', "timeout_ms='3s'"),
        ("half_open=0", "half_open=0"),
        ('peer_keys=["dsa"]', "peer_keys="),
    ]:
        assert cause in site.config(arguments).refused(), arguments


def test_expired(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.make(days=1)
    site.config('certificate="site.pem", key="site.key"')
    now = certificates.now()
    day = certificates._DAY
    monkeypatch.setattr(certificates, "now", lambda: now + 20 * day / 24)
    assert any("holds only until" in text for text in site.configure().warnings())
    monkeypatch.setattr(certificates, "now", lambda: now + 2 * day)
    assert "has expired on" in site.refused()
    monkeypatch.setattr(certificates, "now", lambda: now - day)
    assert "is not valid before" in site.refused()


def test_key_that_others_can_read(site: Site) -> None:
    site.make()
    os.chmod(site.folder / "site.key", 0o644)
    configuration = site.config('certificate="site.pem", key="site.key"').configure()
    assert any("can be read by others: chmod 600" in text for text in configuration.warnings())


@pytest.mark.parametrize("kind", ["p256", pytest.param("rsa", marks=pytest.mark.slow)])
def test_private_key_is_nowhere_else(site: Site, kind: str) -> None:
    """Not in what is printed, nor in any file but link.json, which nobody else may read."""
    site.make(kind=kind)
    key = certificates.read_key(site.folder / "site.key")
    material = certificates.key_material(key)
    secret = material[0] if len(material) == 1 else material[2]
    blobs = [secret, base64.b64encode(secret)[2:-4], secret.hex().encode(), repr(secret)[2:-1].encode()]
    site.config('certificate="site.pem", key="site.key"')
    printed = [
        site.run(*words).output
        for words in (
            ["describe"], ["describe", "--dot"], ["query", "devices", "--json"], ["query", "keys"],
            ["query", "Makefile"], ["query", "files"], ["configure", "--dry-run", "-v"], ["configure", "-v"],
        )
    ]  # fmt: skip
    for path in (site.folder / "mirage").iterdir():
        if path.name != "link.json":
            printed.append(path.read_text())
    assert stat.S_IMODE((site.folder / "mirage/link.json").stat().st_mode) == 0o600
    for text in printed:
        assert text
        for blob in blobs:
            assert blob not in text.encode()
    assert "(not shown: it has a private key)" in printed[6]


# --- what an image has ---


def test_server_has_what_it_needs_and_no_more(site: Site) -> None:
    configuration = site.configure()
    assert {"tls", "tls_server", "identities", "tls12_server"} < set(kinds(configuration))
    found = modules(configuration)
    assert {"libos.tls.server", "libos.tls.identity", "libos.app.tls"} < found
    for name in found:
        assert not name.startswith("libos.tls.x509"), name
        assert name not in ("libos.tls.client", "libos.tls.credential", "libos.tls.key_log")


PRIMITIVES = ("x25519", "mlkem768", "mlkem768_full", "p256", "p256_agree", "p256_full", "p384", "p384_verify",
              "p384_full", "rsa_sign", "rsa_verify", "rsa_full", "ed25519")  # fmt: skip


def primitives(graph: Graph) -> set[str]:
    return set(PRIMITIVES) & {placed.kind.name for placed in graph.devices}


@pytest.mark.parametrize(
    ("kind", "groups", "expected"),
    [
        ("p256", "all", {"x25519", "mlkem768", "p256_agree"}),
        ("p256", "classic", {"x25519", "p256_agree"}),
        ("p256", "x25519", {"x25519", "p256"}),
        ("p256", "p256", {"p256_agree"}),
        ("p384", "x25519", {"x25519", "p384"}),
        ("rsa", "x25519", {"x25519", "rsa_sign"}),
        ("ed25519", "x25519", {"x25519", "ed25519"}),
    ],
)
def test_server_has_the_primitives_of_its_key_and_groups(
    site: Site, kind: str, groups: str, expected: set[str]
) -> None:
    site.make(kind=kind)
    graph = site.config('certificate="site.pem", key="site.key"').graph(tls_groups=groups)
    assert primitives(graph) == expected
    assert graph.configured["tls-groups"] == groups


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('trust="ca.pem"', {"x25519", "p256_full", "p384_verify", "rsa_verify"}),
        ('trust="ca.pem", peer_keys=["p256"]', {"x25519", "p256_full"}),
        ('pins=["00" * 32], peer_keys=["ed25519"]', {"x25519", "ed25519"}),
        ('certificate="development", client_ca="ca.pem"', {"x25519", "p256_full"}),
        ('certificate="development", trust="ca.pem", peer_keys=["rsa"]', {"x25519", "p256", "rsa_verify"}),
    ],
)
def test_peers_keys_bring_what_verifies_them(site: Site, arguments: str, expected: set[str]) -> None:
    site.make()
    assert primitives(site.config(arguments).graph(tls_groups="x25519")) == expected


def test_client_has_the_other_half_of_mlkem(site: Site) -> None:
    site.make()
    assert "mlkem768_full" in primitives(site.config('trust="ca.pem"').graph())


def test_client_has_what_it_needs_and_no_more(site: Site) -> None:
    site.make()
    configuration = site.config('trust="ca.pem"').configure()
    assert {"tls", "tls_client", "verifier", "trust", "tls12_client"} < set(kinds(configuration))
    assert "identities" not in kinds(configuration)
    found = modules(configuration)
    assert {"libos.tls.client", "libos.tls.x509.verify", "libos.tls.x509.trust"} < found
    assert not found & {"libos.tls.server", "libos.tls.identity", "libos.tls.x509.keys", "libos.tls.x509.pack"}
    (blob,) = embedded(configuration, "tls/trust-")
    assert Trust(blob).count == 1
    assert any(f"ca.pem: 1 authority trusted for servers ({len(blob)} octets)" in note for note in configuration.notes)
    assert not file(configuration, "mirage/link.json").is_secret


def test_both_sides_with_certificates(site: Site) -> None:
    site.make()
    site.make(name="me", client=True)
    configuration = site.config(
        'certificate="site.pem", key="site.key", client_ca="ca.pem", client_auth="optional", trust="ca.pem", '
        'client_certificate="me.pem", client_key="me.key", alpn=["h2", "http/1.1"], tickets=False, pins=["ab" * 32]'
    ).configure()
    text = main_of(configuration)
    assert kinds(configuration).count("verifier") == 2
    assert kinds(configuration).count("identities") == 2
    assert 'client_auth="optional"' in text
    assert "tickets=False" in text
    assert "b'http/1.1'" in text
    assert "\\xab" in text
    assert "TlsStack(" in text
    assert "server=tls_server0, client=tls_client0" in text or "tls_server0, tls_client0" in text


def test_client_auth_is_required_unless_said_otherwise(site: Site) -> None:
    site.make()
    text = main_of(site.config('certificate="site.pem", key="site.key", client_ca="ca.pem"').configure())
    assert 'client_auth="required"' in text


def test_pins_alone(site: Site) -> None:
    configuration = site.config('pins=["ab:" * 31 + "ab"]').configure()
    assert "trust" not in kinds(configuration)
    assert "verifier" in kinds(configuration)


def test_system_store(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.make()
    monkeypatch.setattr(octets, "SYSTEM_STORES", ())
    monkeypatch.setattr(octets, "system_store", lambda: tmp_path / "ca.pem")
    configuration = site.config('trust="system"').configure()
    assert any("this computer's trust store: 1 authority trusted for servers" in note for note in configuration.notes)
    monkeypatch.undo()


def test_versions(site: Site) -> None:
    assert "libos.tls.v12_server" in modules(site.configure())
    configuration = site.configure(tls_min="1.3")
    assert not [name for name in modules(configuration) if name.startswith("libos.tls.v12")]
    assert "--tls-min 1.3" in configuration.summary
    site.make()
    client = site.config('trust="ca.pem"')
    assert "libos.tls.v12_client" in modules(client.configure())
    assert not [name for name in modules(client.configure(tls_min="1.3")) if name.startswith("libos.tls.v12")]


def test_key_log(site: Site) -> None:
    configuration = site.configure()
    assert "libos.tls.key_log" not in modules(configuration)
    assert not any("--tls-key-log" in text for text in configuration.warnings())
    configuration = site.configure(tls_key_log="on")
    assert "libos.tls.key_log" in modules(configuration)
    assert any("--tls-key-log on: the keys of TLS connections are written" in text for text in configuration.warnings())
    assert "keylog=tls_key_log0" in main_of(configuration)


def test_describe_shows_the_chain(site: Site) -> None:
    lines = site.run("describe", "--net", "direct").output.splitlines()
    assert any("tls0" in line and "libos.app.tls.TlsStack" in line for line in lines)
    order = [next(index for index, line in enumerate(lines) if name in line) for name in ("app", "tls0", "tcp0")]
    assert order == sorted(order)


def test_two_with_groups(site: Site) -> None:
    site.make()
    (site.folder / "config.py").write_text(
        "from mirage_py.dsl import *\nstack = generic_stack()\n"
        'register("site", unikernel("app.App", tls(stack, group="in"), tls(stack, trust="ca.pem", group="out")))\n'
    )
    (site.folder / "app.py").write_text(APPLICATION.replace("self, stack", "self, stack, other"))
    configuration = site.configure(in_tls_min="1.3")
    assert "libos.tls.v12_client" in modules(configuration)
    assert "libos.tls.v12_server" not in modules(configuration)
    both = modules(site.configure(tls_min="1.3"))
    assert not [name for name in both if name.startswith("libos.tls.v12")]


def test_key_log_says_so_at_start() -> None:
    from libos.tls.key_log import KeyLog

    written: list[str] = []

    class Console:
        write = staticmethod(written.append)

    log = KeyLog(Console())
    assert written[0].startswith("warning: ")
    log("CLIENT_RANDOM 00 11")
    assert written[1:] == ["CLIENT_RANDOM 00 11\n"]


def test_chain_of_what_is_embedded(site: Site) -> None:
    """Everything in the file gets into the image, in order."""
    site.make()
    chain = (site.folder / "site.pem").read_bytes() + (site.folder / "ca.pem").read_bytes()
    (site.folder / "chain.pem").write_bytes(chain)
    configuration = site.config('certificate="chain.pem", key="site.key"').configure()
    (blob,) = embedded(configuration, "tls/identity-")
    own = EmbeddedIdentities(reference_crypto(), [blob])[0]
    assert own.chain == [certificates.der(one) for one in x509.load_pem_x509_certificates(chain)]
