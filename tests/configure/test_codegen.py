# SPDX-License-Identifier: MIT
"""What configure generates: golden files of both examples in three builds, and what fits together in them.

MIRAGE_PY_UPDATE_GOLDEN=1 writes the golden files anew; look at the difference before you commit it.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mirage_py import __version__
from mirage_py.configure import codegen
from mirage_py.configure.codegen import Configuration, configure
from mirage_py.configure.guest_class import find_class
from mirage_py.configure.plan import MARK
from mirage_py.configure.request import Request
from mirage_py.configure.resolver import Trees
from mirage_py.support import paths
from mirage_py.support.errors import UserError

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
GOLDEN = Path(__file__).parent / "golden"
BUILDS = {
    "hvt": Request(target="hvt"),
    "unix-direct": Request(target="unix", values={"net": "direct"}),
    "unix-socket": Request(target="unix", values={"net": "socket"}),
}
CASES = [(example, build) for example in ("echo", "hello") for build in BUILDS]


def request_for(directory: Path, build: str = "hvt", **values: str) -> Request:
    base = BUILDS[build]
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return Request(directory / "config.py", None, base.target, {**base.values, **named})


def configured(example: str, build: str, **values: str) -> Configuration:
    return configure(request_for(EXAMPLES / example, build, **values))


def text_of(configuration: Configuration, path: str) -> str:
    return next(file.text for file in configuration.plan.files if file.path == path)


def document(configuration: Configuration, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text_of(configuration, f"mirage/{name}.json"))
    return found


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """A copy of the echo example."""
    return shutil.copytree(EXAMPLES / "echo", tmp_path / "echo", ignore=shutil.ignore_patterns("dist", "mirage"))


# --- golden ----------------------------------------------------------------------------------------------------------


def compare_with_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    text = text.replace(f"{MARK} {__version__}", f"{MARK} VERSION")
    if os.environ.get("MIRAGE_PY_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(("example", "build"), CASES)
def test_main_is_as_it_was(example: str, build: str) -> None:
    compare_with_golden(f"{example}.{build}.main.py.txt", text_of(configured(example, build), "mirage/main.py"))


@pytest.mark.parametrize(("example", "build"), CASES)
def test_files_in_the_image_are_as_they_were(example: str, build: str) -> None:
    modules = [f"{m.origin} {m.name}" for m in configured(example, build).resolution.modules]
    # Which files a layer consists of is the layer's affair.
    layers = sorted({module if " libos/" not in module else "/".join(module.split("/")[:2]) for module in modules})
    compare_with_golden(f"{example}.{build}.files.txt", "\n".join(layers) + "\n")


def test_hello_has_no_network_code_in_it() -> None:
    for build in BUILDS:
        names = [module.name for module in configured("hello", build).resolution.modules]
        assert not [name for name in names if name.startswith(("libos/net", "libos/wire", "libos/driver"))]
        assert not {"asyncio/stream.py", "libos/hal/pci.py", "libos/hal/sockets.py", "libos/app/stack.py"} & set(names)
        assert configured("hello", build).features == ()


# --- what is generated fits together ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("example", "build"), CASES)
def test_every_file_is_marked_in_its_first_line(example: str, build: str) -> None:
    files = configured(example, build).plan.files
    assert [file.path for file in files] == list(codegen.GENERATED_FILES)
    for file in files:
        assert MARK in file.text.splitlines()[0]


@pytest.mark.parametrize(("example", "build"), CASES)
def test_main_compiles_and_names_exist_before_they_are_used(example: str, build: str) -> None:
    tree = ast.parse(text_of(configured(example, build), "mirage/main.py"))
    compile(tree, "main.py", "exec")
    known: set[str] = set()
    statements = []
    for statement in tree.body:
        statements += statement.body if isinstance(statement, ast.Try) else [statement]
    for statement in statements:
        used = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        assert used <= known, ast.unparse(statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                known |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Name):
                known.add(node.id)


@pytest.mark.parametrize(("example", "build"), CASES)
def test_main_calls_classes_that_exist_with_what_they_take(example: str, build: str) -> None:
    directory = EXAMPLES / example
    tree = ast.parse(text_of(configured(example, build), "mirage/main.py"))
    trees = Trees(directory, paths.guest_dir())
    origin = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    made = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id[0].isupper():
            made += 1
            constructor = find_class(*origin[node.func.id], trees).constructor
            named = {keyword.arg for keyword in node.keywords}
            positional = constructor.parameters[: len(node.args)]
            assert len(positional) == len(node.args) or constructor.is_open
            assert named <= set(constructor.parameters) - set(positional)
            assert constructor.required <= named | set(positional)
    # Each device is one call of a class, but for those that another hands out.
    graph = configured(example, build).graph
    assert made == sum(not placed.kind.method for placed in graph.devices)


@pytest.mark.parametrize(("example", "build"), CASES)
def test_every_module_of_the_manifest_is_a_file(example: str, build: str) -> None:
    configuration = configured(example, build)
    roots = {"app": EXAMPLES / example, "libos": paths.guest_dir()}
    modules = document(configuration, "manifest")["modules"]
    assert len({module["name"] for module in modules}) == len(modules)
    for module in modules:
        if module["origin"] in roots:
            assert (roots[module["origin"]] / module["path"]).is_file()
        else:
            assert (module["origin"], module["path"]) in {
                ("generated", "main.py"),
                ("micropython", f"extmod/{module['name']}"),
            }


def test_config_says_every_choice() -> None:
    config = document(configured("echo", "hvt", port="8080"), "config")
    assert {name: config[name] for name in ("name", "target", "net", "nic", "memory_mb", "format")} == {
        "name": "echo",
        "target": "hvt",
        "net": "direct",
        "nic": "virtio",
        "memory_mb": 16,
        "format": 1,
    }
    assert config["ports"] == [{"proto": "tcp", "key": "port", "port": 8080}]
    assert config["keys"]["configure"] == {"congestion": "cubic", "entropy": "virtio", "net": "direct", "nic": "virtio"}
    assert [key["name"] for key in config["keys"]["runtime"]] == [
        "port",
        "ipv6",
        "ipv6-gateway",
        "accept-router-advertisements",
        "ipv6-secret",
        "ipv4-only",
        "logs",
        "log-time",
        "hostname",
        "dhcp",
        "ipv4",
        "ipv4-gateway",
        "ipv6-only",
        "stats",
    ]
    assert config["keys"]["runtime"][0]["default"] == 8080
    devices = {device["local"]: device for device in config["devices"]}
    assert devices["ethernet0"]["args"] == ["net0"]
    assert devices["tcp0"]["class"] == "Tcp"
    assert config["request"] == {"directory": ".", "config": "config.py", "values": {"port": "8080"}}


def test_only_the_chosen_congestion_control_is_linked_in() -> None:
    for chosen, other in (("cubic", "newreno"), ("newreno", "cubic")):
        written = configured("echo", "hvt", congestion=chosen)
        modules = [module["name"] for module in document(written, "manifest")["modules"]]
        assert f"libos/net/tcp/{chosen}.py" in modules
        assert f"libos/net/tcp/{other}.py" not in modules


@pytest.mark.parametrize(("build", "net", "nic"), [("unix-direct", "direct", "tap"), ("unix-socket", "socket", "none")])
def test_config_of_the_unix_builds(build: str, net: str, nic: str) -> None:
    config = document(configured("echo", build), "config")
    assert (config["net"], config["nic"]) == (net, nic)


def test_image_note_names_the_devices_that_a_machine_must_attach() -> None:
    link = document(configured("echo", "hvt"), "link")
    assert link["output"] == "dist/echo.hvt"
    assert link["note"]["devices"] == [
        {
            "name": "pci0",
            "kind": "pci_device",
            "bus": "pci",
            "vendor": 0x1AF4,
            "device": [0x1041, 0x1000],
            "driver": "virtio_net",
            "network": "net0",
            "keys": {name: name for name in ("dhcp", "ipv4", "ipv4-gateway")},
        }
    ]
    assert document(configured("hello", "hvt"), "link")["note"]["devices"] == []
    assert document(configured("echo", "unix-direct"), "link")["output"] == "dist/echo"


TWO_CARDS = """
from mirage_py.dsl import PciInfo, generic_stack, ixgbe_of_pci, pci_device, register, unikernel, virtio_of_pci
first = virtio_of_pci(pci_device(PciInfo(class_code=0x0200), "pci0"))
second = ixgbe_of_pci(pci_device(PciInfo(slot="00:05.0"), "fast"), mtu=9000)
third = ixgbe_of_pci(pci_device(PciInfo(vendor=0x8086, device=0x10FB), "pci8"))
fourth = ixgbe_of_pci(pci_device(PciInfo(vendor=0x8086, device=0x10FB), "pci9"))
stacks = [generic_stack(card, group=group) for card, group in zip((first, second, third, fourth), GROUPS)]
register("app", unikernel("app.App", *stacks))
"""


def application(directory: Path, text: str) -> Path:
    (directory / "app.py").write_text(
        "class App:\n    def __init__(self, *a):\n        pass\n\n    async def start(self):\n        pass\n"
    )
    (directory / "config.py").write_text(text)
    return directory


def test_cards_by_class_slot_and_vendor_each_with_its_keys(tmp_path: Path) -> None:
    groups = ("", "fast", "lan", "wan")
    found = configured_in(application(tmp_path, TWO_CARDS.replace("GROUPS", repr(groups))))
    main = text_of(found, "mirage/main.py")
    for line in (
        "pci0 = pci_bus0.find(class_code=0x0200)",
        'fast = pci_bus0.find(slot="00:05.0")',
        "pci8 = pci_bus0.find(vendor=0x8086, device=0x10fb)",
        "pci9 = pci_bus0.find(vendor=0x8086, device=0x10fb, index=1)",
        'net1 = Ixgbe(fast, dma0, name="net1", mtu=9000)',
        "dma0 = Dma(users=4)",
    ):
        assert line in main
    devices = document(found, "link")["note"]["devices"]
    assert [(one["name"], one["driver"], one["network"], one["keys"]["ipv4"]) for one in devices] == [
        ("pci0", "virtio_net", "net0", "ipv4"),
        ("fast", "ixgbe", "net1", "fast-ipv4"),
        ("pci8", "ixgbe", "net2", "lan-ipv4"),
        ("pci9", "ixgbe", "net3", "wan-ipv4"),
    ]
    assert [one.get("index", 0) for one in devices] == [0, 0, 0, 1]
    assert document(found, "config")["hardware"] == devices


def test_two_stacks_without_a_group_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"two devices have the key --ipv6: ipv6_0 and ipv6_1; .*group="):
        configured_in(application(tmp_path, TWO_CARDS.replace("GROUPS", repr(("", "", "lan", "wan")))))


def test_two_devices_at_one_slot_are_refused(tmp_path: Path) -> None:
    text = """
from mirage_py.dsl import PciInfo, ixgbe_of_pci, pci_device, register, unikernel
cards = [ixgbe_of_pci(pci_device(PciInfo(slot="00:05.0"), name)) for name in ("one", "two")]
register("app", unikernel("app.App", *cards))
"""
    with pytest.raises(UserError, match=r"two devices are both the PCI function at 00:05\.0"):
        configured_in(application(tmp_path, text))


def test_card_of_a_machine_is_refused_for_a_process(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a Linux process has none"):
        configured_in(application(tmp_path, TWO_CARDS.replace("GROUPS", '"abcd"')), target="unix")


def configured_in(directory: Path, target: str = "hvt") -> Configuration:
    values = {f"{group}-net": "direct" for group in "abcd"} if target == "unix" else {}
    return configure(Request(directory / "config.py", None, target, values))


# --- configure again -------------------------------------------------------------------------------------------------


def test_recorded_request_leads_to_the_same_files(echo: Path, tmp_path: Path) -> None:
    first = configure(Request(echo / "config.py", tmp_path / "out put", "unix", {"net": "direct", "port": "80"}))
    first.plan.apply()
    again = configure(codegen.recorded_request(tmp_path / "out put"))
    assert again.plan.files == first.plan.files


def test_refresh_follows_a_new_import_and_leaves_what_is_the_users(echo: Path) -> None:
    configure(request_for(echo)).plan.apply()
    (echo / "helper.py").write_text("x = 1\n")
    (echo / "echo.py").write_text("import helper\n" + (echo / "echo.py").read_text())
    main = echo / "mirage/main.py"
    main.write_text(main.read_text().replace(MARK, "Mine now, once of mirage-py"))
    assert codegen.refresh(echo) == [main]
    manifest = json.loads((echo / "mirage/manifest.json").read_text())
    assert "helper.py" in [module["name"] for module in manifest["modules"]]
    assert "Mine now" in main.read_text()


def test_refresh_follows_what_a_main_of_the_users_imports(echo: Path) -> None:
    configure(request_for(echo)).plan.apply()
    (echo / "extra.py").write_text("x = 1\n")
    main = echo / "mirage/main.py"
    main.write_text("# mine\nimport extra\n")
    codegen.refresh(echo)
    manifest = json.loads((echo / "mirage/manifest.json").read_text())
    assert [module["name"] for module in manifest["modules"]] == ["main.py", "extra.py"]


def test_nothing_recorded_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is configured in"):
        codegen.recorded_request(tmp_path)
    (tmp_path / "mirage").mkdir()
    (tmp_path / "mirage/config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        codegen.recorded_request(tmp_path)


def test_remove_generated_leaves_the_application(echo: Path) -> None:
    before = sorted(path.name for path in echo.rglob("*"))
    configure(request_for(echo)).plan.apply()
    assert len(codegen.remove_generated(echo)) == len(codegen.GENERATED_FILES)
    assert sorted(path.name for path in echo.rglob("*")) == before


# --- what does not fit -----------------------------------------------------------------------------------------------

CONFIG = """
from mirage_py.dsl import *
size = key("size", type="int", default=1, stage="configure")
colour = key("colour", default="blue")
register("cup", unikernel("cup.Cup", console(), clock(), keys=[size, colour]))
"""


def cup(directory: Path, code: str, config: str = CONFIG) -> Configuration:
    directory.mkdir(exist_ok=True)
    (directory / "config.py").write_text(config)
    (directory / "cup.py").write_text(code)
    return configure(request_for(directory))


def test_keys_of_both_stages_reach_the_constructor(tmp_path: Path) -> None:
    code = "class Cup:\n    def __init__(self, a, b, size, colour): pass\n    async def start(self): pass\n"
    assert 'cup = Cup(console0, clock0, size=1, colour=KEYS["colour"])\n' in text_of(
        cup(tmp_path, code), "mirage/main.py"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Saucer: pass\n", "cup.py has no class Cup"),
        ("class Cup:\n    async def begin(self): pass\n", "cup.py:1: class Cup lacks start"),
        ("class Cup:\n    def start(self): pass\n", "cup.py:2: start() of Cup is not a coroutine"),
        (
            "class Cup:\n    def __init__(self, a, size, colour): pass\n    async def start(self): pass\n",
            "cup.py:2: Cup takes 1 devices, and config.py gives it 2",
        ),
        (
            "class Cup:\n    def __init__(self, a, b, size): pass\n    async def start(self): pass\n",
            "cup.py:2: Cup has no parameter 'colour'",
        ),
        (
            "class Cup:\n    def __init__(self, a, b, c, size, colour): pass\n    async def start(self): pass\n",
            "cup.py:2: Cup takes 'c', which config.py does not give it",
        ),
        ("x = 1\nclass Cup:\n    async def start(self): pass\n", "cup.py:2: Cup takes 0 devices"),
        ("class Cup(:\n", "cup.py:1: SyntaxError"),
    ],
)
def test_application_that_does_not_fit_its_config_is_an_error_here(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        cup(tmp_path, code)
    assert message in caught.value.cause


def test_application_may_take_anything(tmp_path: Path) -> None:
    code = "class Base:\n    async def start(self): pass\nclass Cup(Base):\n    def __init__(self, *a, **k): pass\n"
    assert "cup = Cup(console0, clock0, " in text_of(cup(tmp_path, code), "mirage/main.py")


def test_missing_application_module_and_missing_import(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(CONFIG)
    with pytest.raises(UserError, match="there is no module 'cup' in the application's directory"):
        configure(request_for(tmp_path))
    code = "import requests\nclass Cup:\n    def __init__(self, *a, **k): pass\n    async def start(self): pass\n"
    with pytest.raises(UserError, match=r"cup\.py:1: there is no module 'requests'"):
        cup(tmp_path, code)


def test_device_kind_of_the_users_own(tmp_path: Path) -> None:
    config = """
from mirage_py.dsl import *
COUNTED = Kind("counted", offers=CONSOLE, implementation="counted.Counted", arguments={"below": CONSOLE},
               keys={"limit": key("limit", type="int", default=5)}, settings={"label": "x", "extra": None})
register("cup", unikernel("cup.Cup", COUNTED(console(), label="it's")))
"""
    (tmp_path / "counted.py").write_text(
        "class Counted:\n    def __init__(self, below, limit, label, extra=0): pass\n"
        "    def write(self): pass\n    def read(self): pass\n    async def readline(self): pass\n"
    )
    code = "class Cup:\n    def __init__(self, console): pass\n    async def start(self): pass\n"
    configuration = cup(tmp_path, code, config)
    main = text_of(configuration, "mirage/main.py")
    assert 'counted0 = Counted(console0, limit=KEYS["limit"], label="it\'s")\ncup = Cup(counted0)\n' in main
    assert "counted.py" in [module.name for module in configuration.resolution.modules]


TRAY = """
from mirage_py.dsl import *
TRAY = Kind("tray", offers=CONSOLE, implementation="tray.Tray",
            arguments={"below": CONSOLE, "clock": optional(CLOCK), "other": optional(CONSOLE)},
            keys={"size": key("size", type="int", default=5)})
register("cup", unikernel("cup.Cup", TRAY(console(), ARGUMENTS)))
"""


def tray(tmp_path: Path, arguments: str, parameters: str) -> str:
    """The line of main.py that makes a tray of these arguments, whose class has these parameters."""
    (tmp_path / "tray.py").write_text(
        f"class Tray:\n    def __init__(self, {parameters}): pass\n"
        "    def write(self): pass\n    def read(self): pass\n    async def readline(self): pass\n"
    )
    code = "class Cup:\n    def __init__(self, console): pass\n    async def start(self): pass\n"
    main = text_of(cup(tmp_path, code, TRAY.replace("ARGUMENTS", arguments)), "mirage/main.py")
    return next(line.strip() for line in main.splitlines() if line.strip().startswith("tray0 ="))


@pytest.mark.parametrize(
    ("arguments", "parameters", "made"),
    [
        ("", "below, clock=None, other=None, size=0", 'Tray(console0, size=KEYS["size"])'),
        ("clock()", "below, clock=None, other=None, size=0", 'Tray(console0, clock0, size=KEYS["size"])'),
        (
            "other=console()",
            "below, clock=None, other=None, size=0",
            'Tray(console0, other=console0, size=KEYS["size"])',
        ),
        (
            "None, console()",
            "below, clock=None, other=None, size=0",
            'Tray(console0, other=console0, size=KEYS["size"])',
        ),
        ("size=3", "below, clock=None, other=None, size=0", "Tray(console0, size=3)"),
        ("clock(), size=None", "below, clock=None, other=None, size=0", "Tray(console0, clock0)"),
        # By order, where the class calls them otherwise.
        ("other=console()", "a, b=None, c=None, size=0", 'Tray(console0, c=console0, size=KEYS["size"])'),
        ("clock()", "a, *rest, size=0", 'Tray(console0, clock0, size=KEYS["size"])'),
        ("clock(), console()", "a, *rest, size=0", 'Tray(console0, clock0, console0, size=KEYS["size"])'),
    ],
)
def test_optional_argument_is_left_out_or_given_by_name(
    tmp_path: Path, arguments: str, parameters: str, made: str
) -> None:
    assert tray(tmp_path, arguments, parameters) == f"tray0 = {made}"


@pytest.mark.parametrize(
    ("arguments", "parameters", "cause"),
    [
        ("clock()", "below, clock, other=None, size=0", "parameter 'clock' of Tray has no default, and a tray may be"),
        ("clock()", "a, b, c=None, size=0", "parameter 'b' of Tray has no default, and a tray may be built without it"),
        ("", "below, clock=None, size=0", "Tray takes 2 devices, and config.py gives it 3"),
        ("other=console()", "a, *rest, size=0", "Tray takes 'other' by its place, and 'clock' before it is left out"),
        ("size=None", "below, clock=None, other=None, *, size", "Tray takes 'size', which config.py does not give it"),
    ],
)
def test_class_must_have_defaults_for_what_is_optional(
    tmp_path: Path, arguments: str, parameters: str, cause: str
) -> None:
    with pytest.raises(UserError) as caught:
        tray(tmp_path, arguments, parameters)
    assert cause in caught.value.cause
    assert "tray.py:2" in caught.value.cause
    assert caught.value.remedy


def test_device_kind_whose_class_lacks_what_it_offers(tmp_path: Path) -> None:
    config = """
from mirage_py.dsl import *
register("cup", unikernel("cup.Cup", Kind("mute", offers=CONSOLE, implementation="mute.Mute")()))
"""
    (tmp_path / "mute.py").write_text("class Mute:\n    def write(self): pass\n")
    with pytest.raises(UserError, match=r"mute\.py:1: class Mute lacks read, readline, which every console device has"):
        cup(tmp_path, "class Cup:\n    async def start(self): pass\n", config)


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    config = """
from mirage_py.dsl import *
OTHER = Kind("other", offers=CLOCK, implementation="other.Clock")
register("cup", unikernel("cup.Clock", OTHER(), clock()))
"""
    methods = "".join(f"    def {name}(self): pass\n" for name in dict.fromkeys(["now_ms", "monotonic_ns", "wall_ns"]))
    (tmp_path / "other.py").write_text(f"class Clock:\n{methods}    sleep = sleep_ms = 1\n")
    code = "class Clock:\n    def __init__(self, a, b): pass\n    async def start(self): pass\n"
    main = text_of(cup(tmp_path, code, config), "mirage/main.py")
    compile(main, "main.py", "exec")
    assert "other0 = Clock()\nclock0 = Clock2()\nclock = Clock3(other0, clock0)\n" in main


def test_unknown_key_lists_the_known(echo: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"--colour: .*; its keys: accept-router-advertisements, congestion, dhcp, .*, nic, port, repl, stats",
    ):
        configure(request_for(echo, colour="blue"))


@pytest.mark.parametrize("example", ["echo", "hello"])
def test_contradiction_is_one_whether_or_not_there_is_a_network(example: str) -> None:
    with pytest.raises(UserError, match="--net socket does not go with -t hvt"):
        configured(example, "hvt", net="socket")
    with pytest.raises(UserError, match="--nic virtio does not go with -t unix"):
        configured(example, "unix-direct", nic="virtio")


def test_mode_in_the_environment_is_the_default_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", "unix")
    assert codegen.choose_target(None) == "unix"
    assert codegen.choose_target("hvt") == "hvt"
    monkeypatch.setenv("MODE", "xen")
    with pytest.raises(UserError, match="MODE=xen: unknown target; choose unix or hvt"):
        codegen.choose_target(None)
    monkeypatch.delenv("MODE")
    assert codegen.choose_target(None) == "hvt"


# --- asyncio's own streams -------------------------------------------------------------------------------------------

STREAMS = """import asyncio
class Echo:
    def __init__(self, *stacks, port): pass
    async def start(self):
        await asyncio.start_server(self.handle, "0.0.0.0", 7)
"""


@pytest.fixture
def streams(echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The echo example written for asyncio.start_server, and a library OS that has the module for it."""
    guest = shutil.copytree(paths.guest_dir(), tmp_path / "guest", ignore=shutil.ignore_patterns("__pycache__"))
    (guest / "libos/app/streams.py").write_text("def install(stack): pass\n")
    monkeypatch.setattr(paths, "guest_dir", lambda: guest)
    (echo / "echo.py").write_text(STREAMS)
    return echo


def test_asyncio_streams_are_put_on_the_stack_before_the_application_runs(streams: Path) -> None:
    configuration = configure(request_for(streams))
    main = text_of(configuration, "mirage/main.py")
    assert "from libos.app.streams import install\n" in main
    assert main.index("stack0 = Stack(") < main.index("install(stack0)") < main.index("loop0.run(")
    names = [module.name for module in configuration.resolution.modules]
    assert "libos/app/streams.py" in names
    assert "asyncio/stream.py" not in names


@pytest.mark.parametrize(
    ("devices", "call"),
    [
        ("generic_stack()", "install(stack0)"),
        ("dns_client(generic_stack())", "install(stack0, dns0)"),
        ("happy_eyeballs(generic_stack())", "install(stack0, happy_eyeballs0)"),
        ("happy_eyeballs(recorded_stack())", "install(stack1, happy_eyeballs0)"),
        ("https_client(generic_stack(), trust=None, pins=['00' * 32])", "install(stack0, happy_eyeballs0)"),
        ("tls(generic_stack(), trust=None, pins=['00' * 32])", "install(tls0)"),
    ],
)
def test_asyncio_streams_know_names_where_something_resolves_them(streams: Path, devices: str, call: str) -> None:
    config = (streams / "config.py").read_text().replace("generic_stack()", devices, 1)
    (streams / "config.py").write_text("from mirage_py.dsl import *\n" + config)
    main = text_of(configure(request_for(streams, "unix-direct")), "mirage/main.py")
    assert f"    {call}\n" in main


@pytest.mark.parametrize(("devices", "count"), [("console()", 0), ('generic_stack(), socket_stack(group="lan")', 2)])
def test_asyncio_streams_need_one_stack(streams: Path, devices: str, count: int) -> None:
    config = (streams / "config.py").read_text().replace("generic_stack()", devices, 1)
    (streams / "config.py").write_text("from mirage_py.dsl import *\n" + config)
    with pytest.raises(UserError, match=f"calls asyncio.start_server or open_connection, and has {count} stacks"):
        configure(request_for(streams, "unix-direct"))


# --- the Makefile ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["plain", "with space", "größe # $HOME 'q' \"d\""])
def test_makefile_calls_the_tool_that_configured(echo: Path, tmp_path: Path, folder: str, monkeypatch: Any) -> None:
    directory = tmp_path / folder
    echo.rename(directory)
    python = directory / "bin" / "py thon#$x"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$PWD" "$@" >> calls\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    configure(request_for(directory)).plan.apply()
    for goal in ([], ["run"], ["clean"]):
        subprocess.run(["make", *goal], cwd=directory, check=True, capture_output=True)
    calls = (directory / "calls").read_text().splitlines()
    verbs = ["build", "build", "run", "clean"]
    assert calls == [f"{directory} -P -m mirage_py {verb}" for verb in verbs]


def test_makefile_takes_another_tool(echo: Path) -> None:
    configure(request_for(echo)).plan.apply()
    done = subprocess.run(["make", "MIRAGE=echo tool"], cwd=echo, check=True, capture_output=True, text=True)
    assert done.stdout == "tool build\n"
