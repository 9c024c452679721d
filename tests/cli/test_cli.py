# SPDX-License-Identifier: MIT
"""The command line: wrong input is one line with cause, remedy and the right exit code; what commands print."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mirage_py import __version__
from mirage_py.build import build as building
from mirage_py.build import elf
from mirage_py.cli import commands as cli
from mirage_py.configure import codegen
from mirage_py.run import commands
from mirage_py.run.options import RunOptions
from mirage_py.support.errors import UserError

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ONE_LINE = re.compile(r"mirage-py: error: [^\n]+\n")


@pytest.fixture
def hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the hello example, which is the current directory."""
    ignored = shutil.ignore_patterns("dist", "mirage", "Makefile")
    directory = shutil.copytree(EXAMPLES / "hello", tmp_path / "hellö there", ignore=ignored)
    monkeypatch.chdir(directory)
    monkeypatch.delenv("MODE", raising=False)
    return directory


def call(*words: str) -> Result:
    return CliRunner().invoke(cli.cli, list(words), prog_name="mirage-py")


def refused(*words: str, code: int = 1) -> str:
    """The one line that a wrong call ends with."""
    result = call(*words)
    assert result.exit_code == code, result.output
    assert ONE_LINE.fullmatch(result.stderr), result.stderr
    return result.stderr


def printed(*words: str) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


# --- wrong input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (["configure", "-t", "xen"], 2, ["-t xen", "unix or hvt"]),
        (["configure", "--net", "socket"], 1, ["--net socket", "-t hvt", "--net direct", "-t unix"]),
        (["configure", "-t", "unix", "--nic", "virtio"], 1, ["--nic virtio", "-t unix", "--nic tap", "-t hvt"]),
        (["configure", "--net", "pigeon"], 2, ["--net", "pigeon", "direct, socket"]),
        (["configure", "--count", "many"], 2, ["--count", "'many'", "a whole number"]),
        (["configure", "--pause", "5"], 2, ["--pause", "'5'", "500ms"]),
        (["configure", "--colour", "blue"], 2, ["--colour", "--help"]),
        (["configure", "--count"], 2, ["--count", "requires an argument"]),
        (["configure", "-f", "other.py"], 1, ["there is no other.py", "-f"]),
        (["configure", "extra"], 2, ["extra"]),
        (["describe", "-t", "xen"], 2, ["-t xen"]),
        (["query", "colour"], 2, ["colour", "packages"]),
        (["query", "files", "config.py"], 1, ["an image does not say its files"]),
        (["query", "name", "config.py"], 1, ["config.py"]),
        (["build"], 1, ["nothing is configured in", "mirage-py configure"]),
        (["run"], 1, ["nothing is configured in", "mirage-py configure"]),
        (["run", "config.py"], 1, ["config.py is not an image"]),
        (["run", "--tap", "a b"], 1, ["--tap a b"]),
        (["run", "--memory", "much"], 2, ["--memory", "much"]),
        (["logs", "nobody"], 1, ["nobody"]),
        (["stop", "nobody"], 1, ["nobody"]),
        (["stop"], 2, ["NAME"]),
        (["frobnicate"], 2, ["frobnicate"]),
        (["--color", "pink", "ps"], 2, ["pink", "never"]),
    ],
)
def test_wrong_input_is_one_line(
    hello: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, parts: list[str]
) -> None:
    monkeypatch.setenv("MIRAGE_PY_STATE", str(hello / "state"))
    line = refused(*words, code=code)
    for part in parts:
        assert part in line
    assert not (hello / "mirage").exists()


def test_wrong_mode_in_the_environment(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", "xen")
    assert "MODE=xen" in refused("configure", code=2)


@pytest.mark.parametrize("command", [["configure"], ["configure", "--port", "80"], ["describe"], ["query", "name"]])
def test_outside_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no config.py in" in refused(*command)


def test_config_that_raises_is_one_line_and_debug_shows_the_traceback(hello: Path) -> None:
    (hello / "config.py").write_text("\n1 // 0\n")
    assert "config.py:2: ZeroDivisionError" in refused("configure")
    assert "config.py:2: ZeroDivisionError" in refused("configure", "--count", "3")
    for words in (["configure", "--debug"], ["--debug", "configure"]):
        result = call(*words)
        assert result.exit_code == 1
        assert "Traceback" in result.stderr
        assert "config.py:2: ZeroDivisionError" in result.stderr.splitlines()[-1]


def test_users_file_in_the_way_is_kept_and_nothing_is_written(hello: Path) -> None:
    (hello / "Makefile").write_text("all: mine\n")
    for words in (["configure"], ["configure", "--dry-run"]):
        assert "Makefile is in the way: it was not generated by mirage-py" in refused(*words)
    assert (hello / "Makefile").read_text() == "all: mine\n"
    assert not (hello / "mirage").exists()


def test_fault_of_the_tool_is_one_line_too(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(codegen, "configure", broken)
    assert "RuntimeError: two lines; this is a fault of mirage-py" in refused("configure")


def test_full_disk_is_one_line(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "/some/file")

    monkeypatch.setattr(codegen, "configure", full)
    assert "/some/file: No space left on device" in refused("configure")


def test_interrupt_says_nothing_and_is_130(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(codegen, "configure", interrupted)
    result = call("configure")
    assert (result.exit_code, result.output.strip()) == (130, "")


# --- configure -------------------------------------------------------------------------------------------------------


def test_configure_writes_and_says_what_comes_next(hello: Path) -> None:
    assert printed("configure", "-t", "unix", "--count", "7") == (
        "configured hello with -t unix; next: make, then make run\n"
    )
    assert '("count", "int", 7,' in (hello / "mirage/main.py").read_text()
    assert printed("-q", "configure") == ""


def test_configure_into_another_directory(hello: Path, tmp_path: Path) -> None:
    output = tmp_path / "aus gabe"
    printed("configure", "-f", str(hello / "config.py"), "-o", str(output))
    config = json.loads((output / "mirage/config.json").read_text())
    assert (output / config["request"]["directory"]).resolve() == hello.resolve()
    assert not (hello / "mirage").exists()


def test_dry_run_writes_nothing(hello: Path) -> None:
    assert "would be written: " + str(hello / "mirage/main.py") in printed("configure", "--dry-run")
    assert "KEYS = parse(SPEC" in printed("-v", "configure", "--dry-run")
    assert sorted(path.name for path in hello.iterdir()) == ["config.py", "hello.py"]
    printed("configure")
    assert "would be unchanged: " + str(hello / "Makefile") in printed("configure", "--dry-run")


def test_help_lists_the_keys_of_the_application(hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hello / "config.py").write_text("""
from mirage_py.dsl import *
keys = [key("colour", type="choice", choices=["red", "blue"], default="red", doc="the paint", stage="configure"),
        key("loud", type="bool", default=False, doc="whether to shout"),
        key("nap", type="duration", default="90s", doc="how long to sleep")]
register("hello", unikernel("hello.Hello", console(), clock(), keys=keys))
""")
    text = " ".join(printed("configure", "--help").split())
    for part in (
        "--colour red|blue the paint [default: red]",
        "--loud / --no-loud whether to shout [default: false]",
        "--nap DURATION how long to sleep [default: 90s]",
        "--target unix|hvt",
        "--dry-run",
    ):
        assert part in text
    monkeypatch.chdir(tmp_path)
    outside = printed("configure", "--help")
    assert "--target" in outside
    assert "--net direct|socket" in outside
    assert "--colour" not in outside


def test_keys_of_every_kind_reach_main(hello: Path) -> None:
    (hello / "config.py").write_text("""
from mirage_py.dsl import *
keys = [key("colour", type="choice", choices=["red", "blue"], default="red", stage="configure"),
        key("loud", type="bool"), key("control-port", type="udp_port", default=9),
        key("shade", type="choice", choices=["dark", "light"])]
register("hello", unikernel("hello.Hello", console(), clock(), keys=keys))
""")
    (hello / "hello.py").write_text(
        "class Hello:\n    def __init__(self, console, clock, colour, loud, control_port, shade): pass\n"
        "    async def start(self): pass\n"
    )
    printed("configure", "--colour", "blue", "--no-loud", "--control-port", "99", "--shade", "dark")
    main = (hello / "mirage/main.py").read_text()
    assert 'colour="blue"' in main
    assert '("loud", "bool", False, "")' in main
    assert '("control-port", "udp_port", 99, "")' in main
    assert '("shade", "choice:dark,light", "dark", "")' in main
    assert 'control_port=KEYS["control-port"]' in main


def test_configure_is_a_command_of_its_own(hello: Path) -> None:
    result = CliRunner().invoke(cli.configure_command, ["-t", "unix"], prog_name="configure")
    assert result.exit_code == 0
    assert "configured hello with -t unix" in result.stdout
    wrong = CliRunner().invoke(cli.configure_command, ["-t", "xen"], prog_name="configure")
    assert ONE_LINE.fullmatch(wrong.stderr)


# --- describe and query ----------------------------------------------------------------------------------------------


def test_describe_shows_what_is_built_on_what(hello: Path) -> None:
    text = printed("describe")
    assert "hello for hvt" in text
    assert text.index("console0") < text.index("loop0")
    assert "libos.hal.console.Console" in text
    assert "\x1b" not in text
    assert "\x1b" in printed("--color", "always", "describe")


def test_describe_is_about_what_was_configured_last(hello: Path) -> None:
    printed("configure", "-t", "unix", "--count", "9")
    assert "hello for unix" in printed("describe")
    assert re.search(r"--count 9  --pause 1s$", printed("describe"), re.MULTILINE)
    assert "hello for hvt" in printed("describe", "-t", "hvt")


def test_describe_breaks_no_line_for_a_pipe(hello: Path) -> None:
    (hello / "config.py").write_text("""
from mirage_py.dsl import *
keys = [key(f"a-rather-long-name-{number}") for number in range(9)]
register("hello", unikernel("hello.Hello", console(), clock(), keys=keys))
""")
    (hello / "hello.py").write_text(
        "class Hello:\n    def __init__(self, *a, **k): pass\n    async def start(self): pass\n"
    )
    line = next(line for line in printed("describe").splitlines() if "hello.Hello" in line)
    assert line.endswith("  --a-rather-long-name-8 (unset)")


def test_describe_dot_is_a_digraph_with_the_application_as_diamond(hello: Path) -> None:
    text = printed("describe", "--dot")
    assert text.startswith('digraph "hello" {')
    assert '"hello" [label="hello\\nhello.Hello", shape=diamond];' in text
    assert '"console0" -> "loop0";' in text
    assert '"hello" -> "--count" [style=dashed];' in text


def test_describe_draws_choices_as_circles(hello: Path) -> None:
    (hello / "config.py").write_text("""
from mirage_py.dsl import *
by = key("which", type="choice", choices=["a", "b"], default="a", stage="configure")
register("hello", unikernel("hello.Hello", console(), choose(by, {"a": clock(), "b": clock()})))
""")
    (hello / "hello.py").write_text("class Hello:\n    def __init__(self, *a): pass\n    async def start(self): pass\n")
    text = printed("describe", "--dot")
    assert '"--which" [shape=circle];' in text
    assert '"hello" -> "--which";' in text
    assert '"--which" -> "clock0" [label="a"];' in text
    assert "[--which a, or b]" in printed("describe")


@pytest.mark.parametrize("what", ["name", "packages", "files", "keys", "devices", "Makefile"])
def test_query_answers_as_text_and_as_json(hello: Path, what: str) -> None:
    assert printed("query", what).strip()
    assert json.loads(printed("query", what, "--json"))


def test_query_answers_what_was_asked(hello: Path) -> None:
    assert printed("query", "name") == "hello\n"
    assert json.loads(printed("query", "keys", "--json"))[1] == {
        "name": "pause",
        "stage": "runtime",
        "type": "duration",
        "default": "1s",
        "doc": "how long to wait in between",
        "choices": [],
    }
    frozen = [item for item in json.loads(printed("query", "files", "--json")) if item["role"] == "frozen"]
    assert {"path": "hello.py", "role": "frozen", "origin": "app"} in frozen
    packages = {item["name"]: item["modules"] for item in json.loads(printed("query", "packages", "--json"))}
    assert "libos/hal/clock.py" in packages["libos.hal"]
    assert not [name for name in packages if name.startswith("libos.net")]
    devices = json.loads(printed("query", "devices", "--json"))
    assert [device["name"] for device in devices] == ["loop0", "console0", "clock0", "hello"]
    assert "all:" in printed("query", "Makefile")


def test_query_reads_an_image_without_its_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = {
        "name": "echo",
        "devices": [
            {"name": "pci0", "kind": "pci_device", "bus": "pci", "vendor": 0x1AF4, "device": [0x1041, 0x1000]},
            {
                "name": "left",
                "kind": "pci_device",
                "bus": "pci",
                "class_code": 0x0200,
                "index": 1,
                "driver": "ixgbe",
                "network": "net0",
                "keys": {"ipv4": "lan-ipv4"},
            },
        ],
        "keys": [{"name": "port", "type": "tcp_port", "default": 7, "doc": "the port"}],
    }
    monkeypatch.setattr(elf, "read_note", lambda path: note)
    monkeypatch.chdir(tmp_path)
    assert printed("query", "name", "echo.hvt") == "echo\n"
    assert printed("query", "devices", "echo.hvt") == (
        "pci0  pci_device  1af4:1041 1af4:1000 bus=pci\n"
        "left  pci_device  class=0200 bus=pci index=1 driver=ixgbe network=net0 --lan-ipv4\n"
    )
    assert printed("query", "keys", "echo.hvt") == "--port  runtime  tcp_port  7  the port\n"
    assert "does not say its packages" in refused("query", "packages", "echo.hvt")


# --- what is handed on -----------------------------------------------------------------------------------------------


def test_build_configures_again_and_says_what_it_built(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def build(output: Path, *, progress: Any, micropython: Path | None) -> Path:
        calls.append((output, micropython))
        image = hello / "image"
        image.write_bytes(b"x" * 1234)
        return image

    monkeypatch.setattr(building, "build", build)
    printed("configure", "-t", "unix")
    (hello / "hello.py").write_text("import helper\n" + (hello / "hello.py").read_text())
    assert "hello.py:1: there is no module 'helper'" in refused("build")
    assert calls == []
    (hello / "helper.py").write_text("")
    result = call("build", "--micropython", "src")
    assert (result.exit_code, calls) == (0, [(Path("."), Path("src"))])
    assert result.stderr == "mirage-py: image is built (1,234 bytes)\n"
    assert "helper.py" in (hello / "mirage/manifest.json").read_text()


BROKEN = ["", "{", "[]", '{"format": 7}', '{"format": 1, "name": 3, "target": "unix", "request": []}', None]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_config_json_has_one_remedy_which_helps(hello: Path, content: str | None) -> None:
    printed("configure", "-t", "unix")
    path = hello / "mirage" / "config.json"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    for words in (["build"], ["run"], ["describe"], ["query", "name"], ["configure"]):
        line = refused(*words)
        assert str(path) in line
        assert "move it away" in line
    path.rename(hello / "away")
    printed("configure", "-t", "unix")
    printed("describe")


def test_a_key_that_config_py_has_no_more_is_no_option_of_builds(hello: Path) -> None:
    printed("configure", "-t", "unix", "--count", "2")
    config = hello / "config.py"
    config.write_text(config.read_text().replace("keys=[count, pause]", "keys=[pause]"))
    assert "--count: this application has no such key, as " in refused("build")
    assert "run `mirage-py configure` again" in refused("build")


def test_clean_leaves_what_configure_wrote_unless_asked(hello: Path) -> None:
    printed("configure")
    printed("clean")
    assert (hello / "Makefile").exists()
    printed("clean", "--all")
    assert sorted(path.name for path in hello.iterdir()) == ["config.py", "hello.py"]


def test_run_hands_its_options_on_and_returns_the_guests_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RunOptions] = []

    def run(options: RunOptions) -> int:
        seen.append(options)
        return 42

    monkeypatch.setattr(commands, "run", run)
    line = "run a.hvt -o out --memory 6 --machine pc --accel tcg --publish 1:2 --publish 3:4/udp --tap t0 --pcap f"
    line += " --tap pci1=t1 --link w --without pci2"
    line += " --gdb-port 99 -d --name n --qemu q --qemu-arg=-x --dry-run -- --port 80 -- x"
    assert call(*line.split()).exit_code == 42
    assert seen == [
        RunOptions(
            image=Path("a.hvt"),
            output_dir=Path("out"),
            memory_mb=6,
            machine="pc",
            accel="tcg",
            publish=["1:2", "3:4/udp"],
            tap=["t0", "pci1=t1"],
            link=["w"],
            without=["pci2"],
            pcap=["f"],
            gdb=99,
            detach=True,
            name="n",
            guest_args=["--port", "80", "--", "x"],
            qemu="q",
            qemu_args=["-x"],
            dry_run=True,
        )
    ]
    call("run", "--gdb", "--", "--debug")
    assert (seen[1].gdb, seen[1].image, seen[1].guest_args) == (1234, None, ["--debug"])


def test_debug_behind_the_dashes_is_the_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(options: RunOptions) -> int:
        raise UserError("no", "yes")

    monkeypatch.setattr(commands, "run", run)
    assert refused("run", "--", "--debug") == "mirage-py: error: no; yes\n"


def test_doctor_prints_every_finding_and_the_verdicts() -> None:
    result = call("doctor")
    assert result.exit_code in (0, 1)
    assert re.search(r"^ok +python: version 3", result.stdout, re.MULTILINE)
    assert re.search(r"^-t hvt: ", result.stdout, re.MULTILINE)
    assert {"name", "status", "detail", "remedy", "targets"} <= set(json.loads(call("doctor", "--json").stdout)[0])


def test_ps_lists_for_people_and_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRAGE_PY_STATE", str(tmp_path))
    assert printed("ps") == ""
    assert json.loads(printed("ps", "--json")) == []
    one = {"name": "tea", "image": "/tea", "pid": 1, "pid_start": "0:0", "started": 0, "forwards": ["a way"]}
    (tmp_path / "tea.json").write_text(json.dumps(one))
    assert printed("ps") == ""
    (found,) = json.loads(printed("ps", "-a", "--json"))
    assert (found["name"], found["state"], found["running"]) == ("tea", "was killed", False)
    assert printed("ps", "-a").split() == ["tea", "was", "killed", *printed("ps", "-a").split()[3:]]


def test_version_and_help() -> None:
    assert printed("--version") == f"mirage-py, version {__version__}\n"
    text = printed("--help")
    for command in ("configure", "build", "run", "clean", "query", "describe", "doctor", "ps", "logs", "stop"):
        assert re.search(rf"^  {command} ", text, re.MULTILINE)
        assert call(command, "--help").exit_code == 0


def test_build_starts_at_once() -> None:
    """Nothing that a command does not need is imported before its work: it would be most of a short `make`."""
    program = (
        "import sys\nfrom mirage_py.cli import commands as cli\n"
        "try:\n    cli.cli(['build', '--help'])\nexcept SystemExit:\n    print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=EXAMPLES.parent, check=True, capture_output=True, text=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "click" in loaded
    assert not loaded & {"jinja2", "rich", "elftools", "pyroute2", "qemu.qmp", "filelock", "mirage_py.run.commands"}


def test_closed_pipe_is_no_error(hello: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    command = f"{sys.executable} -P -m mirage_py query files | head -n 1"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
