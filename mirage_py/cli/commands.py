# SPDX-License-Identifier: MIT
"""The command line: it parses, calls, and prints; it decides nothing.

What a command needs is imported when it runs, so that `mirage-py build` in a Makefile starts at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from mirage_py import __version__
from mirage_py.cli.errors import OneLineErrors, Tool
from mirage_py.cli.options import (
    ApplicationCommand,
    application_options,
    common_options,
    configured,
    make_request,
    registration_of,
    settings_of,
)
from mirage_py.support.errors import UserError

_ENDLESS = 10_000  # columns


@click.group(cls=Tool, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mirage-py")
@common_options
def cli() -> None:
    """MirageOS for Python: one application, linked with the parts of an operating system that it needs, as an image."""


@cli.command(cls=OneLineErrors)
@click.argument("name", metavar="NAME", type=click.Path())
@click.option(
    "--template", default="site", metavar="TEMPLATE", help="What to begin from: site, or echo [default: site]."
)
@common_options
@click.pass_context
def new(context: click.Context, /, name: str, template: str) -> None:
    """Make a directory NAME with an application to begin from."""
    from mirage_py.configure import scaffold

    settings = settings_of(context)
    directory = Path(name)
    for path in scaffold.make(directory, template):
        if settings.verbose:
            click.echo(f"written: {path}")
    if not settings.quiet:
        click.echo(f"made {directory}; next: cd {directory}, mirage-py configure, make, make run")


@cli.command(cls=ApplicationCommand, name="configure")
@application_options
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing; with -v its text too.")
@common_options
@click.pass_context
def configure_command(
    context: click.Context, /, target: str | None, file: str, output: str | None, dry_run: bool, **keys: Any
) -> None:
    """Choose the devices of the application here, and write what builds it."""
    from mirage_py.configure import codegen

    settings = settings_of(context)
    configuration = codegen.configure(make_request(file, output, target, keys), registration_of(context))
    plan = configuration.plan
    for text in configuration.resolution.absent:
        settings.progress().detail(text)
    if not settings.quiet:
        for text in configuration.warnings():
            click.echo(f"mirage-py: warning: {text}", err=True)
        for text in configuration.notes:
            click.echo(text)
    for path, state in (plan.states() if dry_run else plan.apply()).items():
        if dry_run or settings.verbose:
            click.echo(f"{'would be ' if dry_run else ''}{state}: {plan.output / path}")
    if dry_run and settings.verbose:
        for planned in plan.files:
            text = "(not shown: it has a private key)\n" if planned.is_secret else planned.text
            click.echo(f"\n--- {planned.path}\n{text}", nl=False)
    elif not settings.quiet and not dry_run:
        click.echo(f"{configuration.summary}; next: make, then make run")


@cli.command(cls=ApplicationCommand)
@application_options
@click.option("--dot", "as_dot", is_flag=True, help="Print the graph in the language of Graphviz.")
@click.option("--svg", metavar="FILE", help="Draw the graph into FILE, with what each device takes of the image.")
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
    from mirage_py.cli import describe as describing

    configuration = configured(context, make_request(file, output, target, keys))
    if svg:
        text = describing.svg(configuration)
        try:
            Path(svg).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {svg}: {error.strerror}", "name another file with --svg") from error
    elif as_dot:
        click.echo(describing.dot(configuration), nl=False)
    else:
        _print_tree(describing.tree(configuration), settings_of(context).color)


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
    from mirage_py.cli import describe as describing

    if image is None:
        answer = describing.query(configured(context, make_request(file, output, target, keys)), what)
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
    from mirage_py.build import build as building
    from mirage_py.configure import codegen

    progress = settings_of(context).progress()
    for path in codegen.refresh(Path(output), progress.detail, progress.note):
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
    from mirage_py.build import build as building

    removed = building.clean(Path(output))
    if everything:
        from mirage_py.configure import codegen

        removed += codegen.remove_generated(Path(output))
    progress = settings_of(context).progress()
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


_BOOT_ARGUMENTS = "boot arguments"


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
            gdb=gdb_port if gdb_port is not None else options.DEFAULT_GDB_PORT if wait_for_gdb else None,
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
def ps(include_ended: bool, as_json: bool) -> None:
    """List the guests that run detached."""
    import time

    from mirage_py.run import commands

    records = commands.ps(include_ended=include_ended)
    if as_json:
        import json

        click.echo(json.dumps([record.summary() for record in records], indent=2, ensure_ascii=False))
        return
    for record in records:
        minutes, seconds = divmod(int((record.ended or time.time()) - record.started), 60)
        ways = "; ".join(record.forwards) or record.tap or ""
        click.echo(f"{record.name:<20}  {record.state:<14}  {minutes:4}:{seconds:02}  {ways}".rstrip())


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
    from mirage_py.cli import doctor as diagnosis

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


@cli.command(cls=OneLineErrors)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-o", "--output", default=".", metavar="DIR", help="Where the files are [default: here].")
@click.option("--name", default="site", metavar="NAME", help="Of the files: NAME.pem and NAME.key [default: site].")
@click.option("--days", type=int, default=90, metavar="DAYS", help="How long the certificate holds [default: 90].")
@click.option(
    "--key-type",
    "kind",
    type=click.Choice(["p256", "p384", "rsa", "ed25519"]),
    default="p256",
    help="Of the certificate's key [default: p256].",
)
@click.option("--client", is_flag=True, help="A certificate for a client, not for a server.")
@click.option("--renew", is_flag=True, help="Replace the certificate and its key; the authority stays.")
@click.option("--force", is_flag=True, help="Replace whatever is there, the authority too.")
@click.option("--show", "shown", metavar="FILE", help="Say what is in FILE, and make nothing.")
@common_options
@click.pass_context
def cert(context: click.Context, /, output: str, names: tuple[str, ...], shown: str | None, **values: Any) -> None:
    """Make a certificate for NAMEs (hosts, addresses), for development, and an authority that signs it: ca.pem.

    Without names it is for localhost, or, to renew one, for the names that it had.
    """
    from mirage_py.configure.tls import making

    if shown is not None:
        lines = making.show(Path(shown))
    else:
        lines = making.make(making.Order(Path(output), names, **values))
    if shown is not None or not settings_of(context).quiet:
        for text in lines:
            click.echo(text)


def main() -> None:
    """The command `mirage-py`."""
    cli.main(prog_name="mirage-py")


def configure_main() -> None:
    """The command `configure`: `mirage-py configure`."""
    configure_command.main(prog_name="configure")
