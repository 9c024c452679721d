# SPDX-License-Identifier: MIT
"""The import resolver: what is reached, from where, and what is missing; and what it holds true of MicroPython."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mirage_py.build import runtime, sources
from mirage_py.configure import resolver
from mirage_py.configure.resolver import (
    ASYNCIO_LAZY,
    BUILTIN,
    Module,
    Resolution,
    Trees,
    resolve_imports,
    resolve_module,
)
from mirage_py.support import paths
from mirage_py.support.cache import Cache
from mirage_py.support.errors import UserError


@pytest.fixture
def application(tmp_path: Path) -> Path:
    directory = tmp_path / "app"
    directory.mkdir()
    return directory


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        path = directory / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def package(directory: Path, name: str, text: str = "") -> None:
    (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / name / "__init__.py").write_text(text)


def reach(application: Path, main: str, without: tuple[str, ...] = ()) -> Resolution:
    return resolve_imports(main, Trees(application, paths.guest_dir()), without=without)


def names(resolution: Resolution) -> list[str]:
    return [module.name for module in resolution.modules if module.origin != resolver.GENERATED]


def test_main_comes_first_and_origins_are_told_apart(application: Path) -> None:
    write(application, tea="import sys\n")
    found = reach(application, "import tea, asyncio\nfrom libos.hal.clock import Clock\n")
    assert found.modules[0] == Module("main.py", "generated", "main.py")
    assert Module("tea.py", "app", "tea.py") in found.modules
    assert Module("asyncio/core.py", "micropython", "extmod/asyncio/core.py") in found.modules
    assert Module("libos/hal/clock.py", "libos", "libos/hal/clock.py") in found.modules
    assert Module("libos/hal/clock.py", "libos", "libos/hal/clock.py") in found.modules


@pytest.mark.parametrize(
    "text",
    [
        "import pot.lid",
        "import pot.lid as l",
        "from pot import lid",
        "from pot.lid import handle",
        "def f():\n    from pot import lid",
        "class A:\n    import pot.lid",
        "if False:\n    import pot.lid",
        "__import__('pot.lid')",
        "try:\n    import pot.lid\nexcept ImportError:\n    pass",
        "try:\n    pass\nfinally:\n    import pot.lid",
        "with a:\n    import pot.lid",
        "match a:\n    case 1:\n        import pot.lid",
        "lambda: __import__('pot.lid')",
    ],
)
def test_every_form_of_import_is_found(application: Path, text: str) -> None:
    package(application, "pot")
    write(application, pot__lid="handle = 1\n", unrelated="import nowhere\n")
    assert names(reach(application, text)) == ["pot/__init__.py", "pot/lid.py"]


def test_relative_imports(application: Path) -> None:
    package(application, "pot", "from . import lid\nfrom .spout import tip\n")
    package(application, "pot/spout", "from ..lid import handle\nfrom .tip import drop\n")
    write(application, pot__lid="handle = 1\n", pot__spout__tip="drop = 1\n")
    assert names(reach(application, "import pot")) == [
        "pot/__init__.py",
        "pot/lid.py",
        "pot/spout/__init__.py",
        "pot/spout/tip.py",
    ]


def test_relative_import_beyond_the_package_names_the_line(application: Path) -> None:
    package(application, "pot", "\nfrom .. import cup\n")
    with pytest.raises(UserError, match=r"pot/__init__\.py:2: .*beyond the package"):
        reach(application, "import pot")


def test_package_without_init_is_one(application: Path) -> None:
    write(application, pot__lid="")
    assert names(reach(application, "import pot.lid")) == ["pot/lid.py"]


def test_circular_imports_end(application: Path) -> None:
    write(application, a="import b\n", b="import a\n")
    assert names(reach(application, "import a")) == ["a.py", "b.py"]


@pytest.mark.parametrize(
    "text", ["import requests", "from requests import get", "import tea.cup", "import asyncio.nothing"]
)
def test_missing_import_names_file_and_line(application: Path, text: str) -> None:
    write(application, tea=f"'''Tea.'''\n\n{text}\n" if "tea." not in text else "", pot=f"\n\n{text}\n")
    with pytest.raises(UserError, match=r"^pot\.py:3: there is no module '[a-z.]+' in the application") as caught:
        reach(application, "import pot")
    assert "beside config.py" in caught.value.remedy


@pytest.mark.parametrize("kind", ["ImportError", "(OSError, ImportError)", "Exception", ""])
def test_missing_import_in_a_try_is_optional(application: Path, kind: str) -> None:
    write(application, fallback="")
    text = f"try:\n    import requests\nexcept {kind}:\n    import fallback\n"
    assert names(reach(application, text)) == ["fallback.py"]


def test_try_that_catches_something_else_is_no_excuse(application: Path) -> None:
    with pytest.raises(UserError, match="requests"):
        reach(application, "try:\n    import requests\nexcept ValueError:\n    pass\n")


def test_second_way_is_left_out_where_the_first_is_sure(application: Path) -> None:
    write(application, first="", fallback="")
    assert names(reach(application, "try:\n    import first\nexcept ImportError:\n    import fallback\n")) == [
        "first.py"
    ]


def test_second_way_must_exist_where_the_first_is_missing(application: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        reach(application, "try:\n    import requests\nexcept ImportError:\n    import nowhere\n")


def test_optional_module_with_a_missing_import_of_its_own_is_an_error(application: Path) -> None:
    write(application, tea="import requests\n")
    with pytest.raises(UserError, match=r"tea\.py:1"):
        reach(application, "try:\n    import tea\nexcept ImportError:\n    pass\n")


def test_all_missing_imports_are_one_error(application: Path) -> None:
    write(application, tea="import cups.small\nimport requests\n", pot="import requests, abc\n")
    with pytest.raises(UserError) as caught:
        reach(application, "import tea\nimport pot\n")
    assert caught.value.cause.startswith(
        "there are no modules 'cups.small' (tea.py:1), 'requests' (tea.py:2), 'abc' (pot.py:1) in the application"
    )
    assert "cups.py, requests.py, abc.py beside config.py" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    import requests",
        "def f():\n    from requests import get",
        "class A:\n    async def f(self):\n        import requests",
        "def f():\n    if True:\n        for a in b:\n            with c:\n                import requests",
        "f = lambda: __import__('requests')",
        "try:\n    import requests\nexcept ImportError:\n    pass",
        "try:\n    import requests\nexcept BaseException:\n    pass",
    ],
)
def test_import_that_may_never_be_reached_is_only_noted(application: Path, text: str) -> None:
    line = next(number for number, part in enumerate(text.splitlines(), 1) if "requests" in part)
    write(application, tea=text + "\n")
    found = reach(application, "import tea\n")
    assert names(found) == ["tea.py"]
    assert found.absent == [
        f"tea.py:{line}: there is no module 'requests'; importing it raises ImportError in the guest"
    ]


@pytest.mark.parametrize(
    "text", ["class A:\n    import requests", "if a:\n    import requests", "with a:\n    import requests"]
)
def test_import_that_is_reached_when_the_module_is_loaded_must_be_there(application: Path, text: str) -> None:
    with pytest.raises(UserError, match="requests"):
        reach(application, text)


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING", "t.TYPE_CHECKING"])
def test_what_is_for_type_checkers_is_not_in_the_image(application: Path, test: str) -> None:
    write(application, tea="", cup="")
    text = f"if {test}:\n    import requests\n    from tea import Tea\nelse:\n    import cup\n"
    found = reach(application, text)
    assert names(found) == ["cup.py"]
    assert found.absent == []
    with pytest.raises(UserError, match="requests"):
        reach(application, f"if not {test}:\n    import requests\n")


def test_future_and_typing_are_there(application: Path) -> None:
    text = "from __future__ import annotations\nfrom typing import TYPE_CHECKING, Any\n"
    assert reach(application, text).modules[1:] == [
        Module("__future__.py", "libos", "pylib/__future__.py"),
        Module("typing.py", "libos", "pylib/typing.py"),
    ]
    # The application's own comes first.
    write(application, typing="Any = 1\n")
    assert Module("typing.py", "app", "typing.py") in reach(application, text).modules


def test_ssl_is_there_where_an_application_has_cryptography(application: Path) -> None:
    text = "import ssl\n"
    with pytest.raises(UserError, match=r"main.py:1: the module 'ssl' needs cryptography") as error:
        reach(application, text)
    assert "tls_contexts()" in error.value.remedy
    found = resolve_imports(text, Trees(application, paths.guest_dir(), has_compat=True))
    assert {Module("ssl.py", "libos", "compat/ssl.py"), Module("tls.py", "libos", "compat/tls.py")} <= set(
        found.modules
    )
    assert "libos/tls/server.py" in names(found)
    # In a function it costs nothing where there is none.
    found = reach(application, "def f():\n    import ssl\n")
    assert [module.name for module in found.modules] == ["main.py"]
    # The application's own comes first.
    write(application, ssl="")
    assert names(reach(application, text)) == ["ssl.py"]


def test_future_has_all_that_cpython_has_but_jokes() -> None:
    import __future__

    ours = ast.parse((paths.guest_dir() / "pylib" / "__future__.py").read_bytes())
    assigned = {target.id for node in ours.body if isinstance(node, ast.Assign) for target in node.targets}  # type: ignore[attr-defined]
    assert assigned == set(__future__.all_feature_names) - {"barry_as_FLUFL"}


@pytest.mark.parametrize(
    "text", ["x = " + "-" * 5000 + "1\n", "if a:\n    pass\n" + "elif b:\n    pass\n" * 3000, "a" + ".b" * 5000 + "\n"]
)
def test_nesting_without_end_is_one_line(application: Path, text: str) -> None:
    write(application, tea=text + "__import__('tea')\n")
    with pytest.raises(UserError, match=r"tea\.py: .* nested too deeply"):
        reach(application, "import tea\n")


def test_complex_number_is_refused_by_file_and_line(application: Path) -> None:
    write(application, tea="def later():\n    return 2j\n")
    with pytest.raises(UserError) as caught:
        reach(application, "import tea\n")
    assert caught.value.cause.endswith("tea.py:2: MicroPython in an image has no complex numbers")


def test_syntax_error_names_file_and_line(application: Path) -> None:
    write(application, tea="a = 1\nb = = 2\n")
    with pytest.raises(UserError, match=r"tea\.py:2: SyntaxError"):
        reach(application, "import tea")
    (application / "nul.py").write_bytes(b"a\0b")
    with pytest.raises(UserError, match=r"nul\.py:1: SyntaxError"):
        reach(application, "import nul")


@pytest.mark.parametrize("name", ["time", "sys", "select", "main", "asyncio"])
def test_application_module_may_not_hide_one_of_every_image(application: Path, name: str) -> None:
    write(application, **{name: "x = 1\n"})
    with pytest.raises(UserError, match=rf"{name}\.py has the name of a module"):
        reach(application, f"import {name}")


def test_names_with_u_are_the_runtimes(application: Path) -> None:
    found = reach(application, "import utime, ujson, ustruct\n")
    assert found.builtins == {"time", "json", "struct"}
    with pytest.raises(UserError, match="umath"):
        reach(application, "import umath\n")


# --- asyncio -------------------------------------------------------------------------------------------------------

CORE = ["asyncio/__init__.py", "asyncio/core.py"]


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("import asyncio\nasyncio.sleep(1)\n", []),
        ("import asyncio\nasyncio.Event()\n", ["event"]),
        ("import asyncio as aio\naio.gather()\n", ["funcs"]),
        ("from asyncio import Lock\n", ["lock"]),
        ("from asyncio import core\n", []),
        ("from asyncio import sleep, stream\n", ["stream"]),
        ("import asyncio.event\n", ["event"]),
        ("import asyncio.core\nasyncio.Lock()\n", ["lock"]),
        ("import asyncio\nasyncio.start_server = None\n", []),
        ("import asyncio\nasyncio.start_server()\nasyncio.wait_for()\n", ["funcs", "stream"]),
        ("import asyncio\ngetattr(asyncio, name)\n", ["event", "funcs", "lock", "stream"]),
        ("from asyncio import *\n", []),
    ],
)
def test_asyncio_brings_only_what_is_used(application: Path, text: str, more: list[str]) -> None:
    assert names(reach(application, text)) == CORE + [f"asyncio/{name}.py" for name in more]


def test_replaced_names_do_not_bring_their_files(application: Path) -> None:
    text = "import asyncio\nasyncio.start_server()\nasyncio.Event()\n"
    found = reach(application, text, without=("start_server", "open_connection"))
    assert names(found) == [*CORE, "asyncio/event.py"]


def test_names_that_the_application_uses_are_reported(application: Path) -> None:
    write(application, tea="import asyncio\nasyncio.start_server\nasyncio.sleep\n")
    found = resolve_module("tea", Trees(application, paths.guest_dir()))
    assert found.asyncio_names == {"start_server"}


# --- features ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("a = 1 // 2\n", set()),
        ("a = 1 / 2\n", set()),
        ("exec('1')\n", {"compiler"}),
        ("a = list(map(eval, '12'))\n", {"compiler"}),
        ("def f(run=compile):\n    pass\n", {"compiler"}),
        ("import builtins\nbuiltins.exec('1')\n", {"compiler"}),
        ("import builtins\ngetattr(builtins, 'eval')('1')\n", {"compiler"}),
        ("from builtins import eval as e\n", {"compiler"}),
        ("import builtins\nbuiltins.print('1')\n", set()),
        ("a.exec('1')\n", set()),
        ("compile = 1\n", set()),
        ("import re\nre.compile('a')\n", set()),
    ],
)
def test_features_that_code_needs(application: Path, text: str, features: set[str]) -> None:
    write(application, tea=text)
    assert reach(application, "import tea").features == features


# --- what is known about MicroPython is true -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def micropython() -> Path:
    given = sources.given_directory(None)
    if given is not None:
        return given
    if not sources.is_cached(sources.MICROPYTHON, Cache()):
        pytest.skip("the MicroPython source is not in the cache")
    return sources.obtain(sources.MICROPYTHON, Cache())


def test_lazy_names_are_those_of_the_source(micropython: Path) -> None:
    tree = ast.parse((micropython / "extmod/asyncio/__init__.py").read_text())
    table = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_attrs"
    )
    assert table == ASYNCIO_LAZY


def test_files_of_asyncio_import_what_is_said_of_them(micropython: Path) -> None:
    folder = micropython / "extmod" / "asyncio"
    for name, imports in resolver._ASYNCIO_FILES.items():
        text = (folder / f"{name}.py").read_text()
        relative = set(re.findall(r"^\s*from \.(\w*) import", text, re.MULTILINE)) | set(
            re.findall(r"^from \. import (\w+)", text, re.MULTILINE)
        )
        assert relative - {"", "task"} == set(imports), name
        absolute = re.findall(r"^(?:import|from) ([a-z_, ]+?)(?: import.*)?$", text, re.MULTILINE)
        assert {word for line in absolute for word in line.split(", ")} <= BUILTIN, name


def test_cryptography_is_a_feature_of_what_imports_it(tmp_path: Path) -> None:
    guest = Trees(tmp_path, paths.guest_dir())
    assert resolve_imports("import libos.hal.x25519\n", guest).features == {"crypto"}
    assert resolve_imports("import libos.tls.crypto\n", guest).features == set()


def test_builtin_modules_are_those_of_the_runtimes_configuration(micropython: Path) -> None:
    registered: dict[str, bool] = {}
    ours = (paths.targets_dir() / "common").glob("mod*.c")
    for source in [*micropython.glob("py/*.c"), *micropython.glob("extmod/mod*.c"), *ours]:
        for kind, name in re.findall(r"^MP_REGISTER_(\w+)\(MP_QSTR_(\w+),", source.read_text(), re.MULTILINE):
            registered[name] = kind == "EXTENSIBLE_MODULE"
    configuration = (paths.targets_dir() / "common/mpconfigport.h").read_text()
    off = {name.lower() for name in re.findall(r"#define MICROPY_PY_(\w+) \(0\)", configuration)}
    for name in BUILTIN:
        assert name in registered
        assert name not in off
    assert {name for name in registered if name in runtime._CRYPTO} == resolver.CRYPTO == set(runtime._CRYPTO)
    for name in resolver._EXTENSIBLE:
        assert registered[name], name
    for name in ("cmath", "uctypes", "framebuf", "platform", "machine"):
        assert name in off
        assert name not in BUILTIN
