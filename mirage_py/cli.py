# SPDX-License-Identifier: MIT
"""The command line: it parses, calls, and prints; it decides nothing.

What a command needs is imported when it runs, so that `mirage-py build` in a Makefile starts at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mirage_py import __version__
from mirage_py.errors import UserError

if TYPE_CHECKING:
    from mirage_py import dsl
    from mirage_py.codegen import Configuration, Request
    from mirage_py.keys import Key
    from mirage_py.progress import Progress

EXIT_INTERRUPTED = 130
COLORS = ("auto", "always", "never")
_ENDLESS = 10_000  # columns

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@dataclass
class Settings:
    """The options that every command has."""

    verbose: bool = False
    quiet: bool = False
    color: str = "auto"

    def progress(self) -> Progress:
        from mirage_py.progress import Progress

        return Progress(quiet=self.quiet, verbose=self.verbose)


def _settings(context: click.Context) -> Settings:
    settings: Settings = context.find_root().ensure_object(Settings)
    return settings


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(_settings(context), name, value)

    return callback


def common_options(command: _Decorated) -> _Decorated:
    """The options that may stand before the command as well as after it."""
    options = [
        click.option("-v", "--verbose", is_flag=True, expose_value=False, callback=_set("verbose"), help="Say more."),
        click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_set("quiet"), help="Say less."),
        click.option(
            "--color",
            type=click.Choice(COLORS),
            expose_value=False,
            callback=_set("color"),
            help="Colours: auto, always or never.",
        ),
        click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


class OneLineErrors(click.Command):
    """A command whose errors are one line with cause and remedy; --debug adds the traceback."""

    def main(  # type: ignore[override]  # click overloads it on standalone_mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        is_debug = "--debug" in words[: words.index("--")] if "--" in words else "--debug" in words
        standalone = extra.pop("standalone_mode", True)
        code = _guarded(
            lambda: super(OneLineErrors, self).main(words, prog_name, standalone_mode=False, **extra), is_debug
        )
        if not standalone:
            return code
        sys.exit(code)


def _guarded(call: Callable[[], Any], is_debug: bool) -> int:
    cause: BaseException
    try:
        result = call()
        return result if isinstance(result, int) else 0
    except UserError as error:
        shown, code, cause = str(error), error.exit_code, error
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "mirage-py"
        message = error.format_message().rstrip(".")
        shown, code, cause = f"{message}; see `{path} --help`", error.exit_code, error
    except click.ClickException as error:
        shown, code, cause = error.format_message(), error.exit_code, error
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read has had enough. Nothing may be flushed into the pipe at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        shown, code, cause = f"{where}{error.strerror or error}; --debug shows where", 1, error
    except Exception as error:
        shown, code = f"{type(error).__name__}: {error}; this is a fault of mirage-py: report it with --debug", 1
        cause = error
    if is_debug:
        import traceback

        traceback.print_exception(cause)
    click.echo(f"mirage-py: error: {' '.join(shown.split())}", err=True)
    return code


class Tool(OneLineErrors, click.Group):
    """The group of all commands."""


# --- commands that take the keys of an application -------------------------------------------------------------------


_APPLICATION = "mirage_py.application"
_KEY_PREFIX = "key_"


class Application:
    """The config.py that a command is called on, loaded before its line is parsed: it says which options there are.

    A failure waits until something needs the application: --help works without.
    """

    def __init__(self, path: Path) -> None:
        from mirage_py import codegen, dsl

        self.path = path
        self.registration: dsl.Registration | None = None
        self.failure: UserError | None = None
        self.keys = codegen.keys_of(None, path)
        try:
            self.registration = dsl.load(path)
            self.keys = codegen.keys_of(self.registration, path)
        except UserError as error:
            self.failure = error

    def require(self) -> dsl.Registration:
        """What config.py registered. Raises the UserError that loading it ended with."""
        if self.failure is not None or self.registration is None:
            raise self.failure or UserError(f"{self.path} registers nothing")
        return self.registration


class ApplicationCommand(OneLineErrors):
    """A command with an option for every key of the config.py that it is called on."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from mirage_py import codegen

        file = _option_value(args, "-f", "--file")
        application = Application(Path(file or codegen.CONFIG_NAME))
        ctx.meta[_APPLICATION] = application
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            # It may be an option that a config.py brings: then what is wrong with that comes first.
            application.require()
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *(_key_option(key, titles) for key, titles in self._keys(ctx).values())]

    @staticmethod
    def _keys(ctx: click.Context) -> dict[str, tuple[Key, list[str]]]:
        application: Application = ctx.meta[_APPLICATION]
        return application.keys

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {
            "Options": [],
            "Keys of this application, fixed when it is configured": [],
            "Boot arguments: what is given here becomes the image's default": [],
        }
        titles = list(groups)
        keys = self._keys(ctx)
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                key = keys.get((parameter.name or "").removeprefix(_KEY_PREFIX).replace("_", "-"))
                is_key = (parameter.name or "").startswith(_KEY_PREFIX) and key is not None
                group = 0 if not is_key or key is None else 1 if key[0].stage == "configure" else 2
                groups[titles[group]].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _key_option(key: Key, titles: list[str]) -> click.Option:
    default = f" [default: {key.show(key.default)}]" if key.default is not None else ""
    owners = f" ({', '.join(titles)})" if titles and key.stage == "runtime" else ""
    names = [f"{_KEY_PREFIX}{key.parameter}", f"{key.option}/--no-{key.name}" if key.type == "bool" else key.option]
    return click.Option(
        names, help=f"{key.doc}{default}{owners}", metavar=None if key.type == "bool" else key.metavar, default=None
    )


def _option_value(args: Sequence[str], short: str, long: str) -> str | None:
    """The value of an option, looked for before click reads the line: what it names decides what else there is."""
    found = None
    words = iter(args)
    for word in words:
        if word == "--":
            break
        if word in (short, long):
            found = next(words, None)
        elif word.startswith(f"{long}="):
            found = word.partition("=")[2]
        elif word.startswith(short) and not word.startswith("--") and len(word) > len(short):
            found = word[len(short) :]
    return found


def application_options(command: _Decorated) -> _Decorated:
    """The options that say which application, and how it is to be configured."""
    options = [
        click.option("-t", "--target", metavar="unix|hvt", help="What to build for [default: $MODE, or hvt]."),
        click.option("-f", "--file", default="config.py", metavar="FILE", help="The config.py [default: config.py]."),
        click.option("-o", "--output", metavar="DIR", help="Where to write [default: the directory of config.py]."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _request(file: str, output: str | None, target: str | None, keys: dict[str, Any]) -> Request:
    from mirage_py.codegen import Request

    values = {
        name.removeprefix(_KEY_PREFIX).replace("_", "-"): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in keys.items()
        if value is not None
    }
    return Request(Path(file), Path(output) if output else None, target, values)


def _configured(context: click.Context, request: Request) -> Configuration:
    """What `describe` and `query` are about: what was configured last, unless options ask for something else."""
    from mirage_py import codegen

    if request.target is None and not request.values:
        try:
            recorded = codegen.recorded_request(request.output_directory)
        except UserError:
            pass
        else:
            if recorded.config == request.config.absolute():
                request = recorded
    return codegen.configure(request, _application(context))


def _application(context: click.Context) -> dsl.Registration:
    application: Application = context.meta[_APPLICATION]
    return application.require()


# --- the commands ----------------------------------------------------------------------------------------------------


@click.group(cls=Tool, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mirage-py")
@common_options
def cli() -> None:
    """MirageOS for Python: one application, linked with the parts of an operating system that it needs, as an image."""


@cli.command(cls=ApplicationCommand, name="configure")
@application_options
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing; with -v its text too.")
@common_options
@click.pass_context
def configure_command(
    context: click.Context, /, target: str | None, file: str, output: str | None, dry_run: bool, **keys: Any
) -> None:
    """Choose the devices of the application here, and write what builds it."""
    from mirage_py import codegen

    settings = _settings(context)
    configuration = codegen.configure(_request(file, output, target, keys), _application(context))
    plan = configuration.plan
    for path, state in (plan.states() if dry_run else plan.apply()).items():
        if dry_run or settings.verbose:
            click.echo(f"{'would be ' if dry_run else ''}{state}: {plan.output / path}")
    if dry_run and settings.verbose:
        for planned in plan.files:
            click.echo(f"\n--- {planned.path}\n{planned.text}", nl=False)
    elif not settings.quiet and not dry_run:
        click.echo(f"{configuration.summary}; next: make, then make run")


@cli.command(cls=ApplicationCommand)
@application_options
@click.option("--dot", "as_dot", is_flag=True, help="Print the graph for Graphviz.")
@click.option("--svg", metavar="FILE", help="Draw the graph into FILE (needs Graphviz).")
@common_options
@click.pass_context
def describe(
    context: click.Context,
    /,
    target: str | None,
    file: str,
    output: str | None,
    as_dot: bool,
    svg: str | None,
    **keys: Any,
) -> None:
    """Show the devices of the application here: what is built on what."""
    from mirage_py import describe as describing

    configuration = _configured(context, _request(file, output, target, keys))
    if svg:
        Path(svg).write_text(describing.svg(configuration), encoding="utf-8")
    elif as_dot:
        click.echo(describing.dot(configuration), nl=False)
    else:
        _print_tree(describing.tree(configuration), _settings(context).color)


def _print_tree(branch: Any, color: str) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    def line(text: str) -> Text:
        name, space, rest = text.partition("  ")
        return Text.assemble((name, "bold"), space, (rest, "dim"))

    def add(tree: Tree, branches: list[Any]) -> None:
        for child in branches:
            add(tree.add(line(child.text)), child.branches)

    top = Tree(line(branch.text))
    add(top, branch.branches)
    force = {"auto": None, "always": True, "never": False}[color]
    # Only a terminal breaks lines: what reads them otherwise may be a program.
    width = None if sys.stdout.isatty() else _ENDLESS
    console = Console(force_terminal=force, no_color=color == "never", width=width, highlight=False)
    console.print(top)


@cli.command(cls=ApplicationCommand)
@click.argument("what", metavar="WHAT", type=click.Choice(["name", "packages", "files", "keys", "devices", "Makefile"]))
@click.argument("image", required=False)
@application_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def query(
    context: click.Context,
    /,
    what: str,
    image: str | None,
    target: str | None,
    file: str,
    output: str | None,
    as_json: bool,
    **keys: Any,
) -> None:
    """Print the name, packages, files, keys, devices or Makefile of the application here; or what IMAGE says itself."""
    from mirage_py import describe as describing

    if image is None:
        answer = describing.query(_configured(context, _request(file, output, target, keys)), what)
    else:
        answer = describing.query_image(Path(image), what)
    if as_json:
        import json

        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        for text in describing.query_lines(what, answer):
            click.echo(text)


_OUTPUT = click.option("-o", "--output", default=".", metavar="DIR", help="Where configure wrote [default: here].")


@cli.command(cls=OneLineErrors)
@_OUTPUT
@click.option("--micropython", metavar="DIR", help="A MicroPython source tree to use.")
@common_options
@click.pass_context
def build(context: click.Context, output: str, micropython: str | None) -> None:
    """Build what was configured here; `make` does the same."""
    from mirage_py import build as building
    from mirage_py import codegen

    progress = _settings(context).progress()
    for path in codegen.refresh(Path(output)):
        progress.note(f"{path} is yours now: it is built as it is")
    image = building.build(Path(output), progress=progress, micropython=Path(micropython) if micropython else None)
    progress.note(f"{os.path.relpath(image)} is built ({image.stat().st_size:,} bytes)")


@cli.command(cls=OneLineErrors)
@_OUTPUT
@click.option("--all", "everything", is_flag=True, help="Remove what configure wrote, too.")
@common_options
@click.pass_context
def clean(context: click.Context, output: str, everything: bool) -> None:
    """Remove what was built here."""
    from mirage_py import build as building

    removed = building.clean(Path(output))
    if everything:
        from mirage_py import codegen

        removed += codegen.remove_generated(Path(output))
    progress = _settings(context).progress()
    for path in removed:
        progress.detail(f"removed {path}")


@cli.command(
    cls=OneLineErrors,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.pass_context
def nic(context: click.Context) -> None:
    """Emulate Intel 82599 cards for other guests (vfio-user); `run` does it for its own. See `nic --help`."""
    from mirage_py.nic import main as nics

    context.exit(nics.main(context.args))


class RunCommand(OneLineErrors):
    """A command whose line goes on, behind `--`, with the boot arguments of what it runs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_BOOT_ARGUMENTS] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- BOOT ARGUMENTS]"]


_BOOT_ARGUMENTS = "mirage_py.boot_arguments"


@cli.command(cls=RunCommand)
@click.argument("image", required=False)
@_OUTPUT
@click.option("--memory", "memory_mb", type=int, metavar="MIB", help="RAM of the machine.")
@click.option("--machine", metavar="q35|pc|microvm", help="QEMU's machine type [default: what the image needs].")
@click.option("--accel", metavar="kvm|tcg", help="[default: KVM where this computer has it, else TCG]")
@click.option(
    "--publish",
    multiple=True,
    metavar="[ADDRESS:]HOST:GUEST[/udp]",
    help="Forward a port of the host's [default: the application's ports]. May be repeated.",
)
@click.option(
    "--tap",
    multiple=True,
    metavar="[CARD=]NAME",
    help="Use a TAP interface in place of the user-mode network. May be repeated: one for each card, in order.",
)
@click.option(
    "--link",
    multiple=True,
    metavar="[CARD=]PATH",
    help="Wire a card to that of another guest which is run with the same PATH. May be repeated.",
)
@click.option(
    "--without", multiple=True, metavar="CARD", help="Do not attach a PCI device: a --qemu-arg does. May be repeated."
)
@click.option(
    "--pcap", multiple=True, metavar="[CARD=]FILE", help="Record every frame of a card, or of each. May be repeated."
)
@click.option("--gdb", "wait_for_gdb", is_flag=True, help="Wait for gdb before the first instruction.")
@click.option("--gdb-port", type=int, metavar="PORT", help="The port for gdb [default: 1234]; implies --gdb.")
@click.option("-d", "--detach", is_flag=True, help="Leave it running; see ps, logs and stop.")
@click.option("--name", help="What ps, logs and stop call it [default: the image's name]; with --detach.")
@click.option("--qemu", metavar="FILE", help="The QEMU to use [default: qemu-system-x86_64].")
@click.option("--qemu-arg", "qemu_args", multiple=True, metavar="ARG", help="One more argument for QEMU itself.")
@click.option("--dry-run", is_flag=True, help="Print the command line, and run nothing.")
@common_options
@click.pass_context
def run(
    context: click.Context,
    /,
    image: str | None,
    output: str,
    wait_for_gdb: bool,
    gdb_port: int | None,
    tap: tuple[str, ...],
    link: tuple[str, ...],
    without: tuple[str, ...],
    pcap: tuple[str, ...],
    publish: tuple[str, ...],
    qemu_args: tuple[str, ...],
    **values: Any,
) -> int:
    """Run IMAGE, or what was built here. Its exit code is the command's."""
    from mirage_py.run import commands, options

    return commands.run(
        options.RunOptions(
            image=Path(image) if image else None,
            output_dir=Path(output),
            gdb=gdb_port or (options.DEFAULT_GDB_PORT if wait_for_gdb else None),
            tap=list(tap),
            link=list(link),
            without=list(without),
            pcap=list(pcap),
            publish=list(publish),
            qemu_args=list(qemu_args),
            guest_args=context.meta[_BOOT_ARGUMENTS],
            **values,
        )
    )


@cli.command(cls=OneLineErrors)
@click.option("-a", "--all", "include_ended", is_flag=True, help="Those that ended lately, too.")
@common_options
def ps(include_ended: bool) -> None:
    """List the guests that run detached."""
    import time

    from mirage_py.run import commands

    for record in commands.ps(include_ended=include_ended):
        minutes, seconds = divmod(int((record.ended or time.time()) - record.started), 60)
        state = "running" if record.is_running else f"ended with {record.exit_code}"
        ways = "; ".join(record.forwards) or record.tap or ""
        click.echo(f"{record.name:<20}  {state:<14}  {minutes:4}:{seconds:02}  {ways}".rstrip())


@cli.command(cls=OneLineErrors)
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the guest ends.")
@common_options
def logs(name: str, follow: bool) -> int:
    """Print what the detached guest NAME wrote on its console."""
    from mirage_py.run import commands

    return commands.logs(name, follow)


@cli.command(cls=OneLineErrors)
@click.argument("name")
@common_options
def stop(name: str) -> int:
    """End the detached guest NAME."""
    from mirage_py.run import commands

    return commands.stop(name)


@cli.command(cls=OneLineErrors)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
def doctor(as_json: bool) -> int:
    """Say what this computer has and lacks for each target, and what to do about it."""
    from mirage_py import doctor as diagnosis

    findings = diagnosis.report()
    if as_json:
        import dataclasses
        import json

        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            click.echo(f"{finding.status:<8} {finding.name}: {finding.detail}{remedy}")
        for target in diagnosis.BOTH:
            click.echo(f"-t {target}: {'ready' if diagnosis.is_ready(findings, target) else 'something is missing'}")
    return int(any(finding.status == diagnosis.MISSING for finding in findings))


def main() -> None:
    """The command `mirage-py`."""
    cli.main(prog_name="mirage-py")


def configure_main() -> None:
    """The command `configure`: `mirage-py configure`."""
    configure_command.main(prog_name="configure")
