# SPDX-License-Identifier: MIT
"""What the commands have in common: their options, and the keys of the application that some are called on.

What a command needs is imported when it runs, so that `mirage-py build` in a Makefile starts at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mirage_py.cli.errors import OneLineErrors
from mirage_py.support.errors import UserError

if TYPE_CHECKING:
    from mirage_py.configure import config_file
    from mirage_py.configure.codegen import Configuration
    from mirage_py.configure.keys import Key
    from mirage_py.configure.request import Request
    from mirage_py.support.progress import Progress

COLORS = ("auto", "always", "never")

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@dataclass
class Settings:
    """The options that every command has."""

    verbose: bool = False
    quiet: bool = False
    color: str = "auto"

    def progress(self) -> Progress:
        from mirage_py.support.progress import Progress

        return Progress(quiet=self.quiet, verbose=self.verbose)


def settings_of(context: click.Context) -> Settings:
    """The options that every command has, as they were given."""
    settings: Settings = context.find_root().ensure_object(Settings)
    return settings


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(settings_of(context), name, value)

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


# --- commands that take the keys of an application -------------------------------------------------------------------


_APPLICATION = "application"
_KEY_PREFIX = "key_"


class Application:
    """The config.py that a command is called on, loaded before its line is parsed: it says which options there are.

    A failure waits until something needs the application: --help works without.
    """

    def __init__(self, path: Path) -> None:
        from mirage_py.configure import codegen, config_file

        self.path = path
        self.registration: config_file.Registration | None = None
        self.failure: UserError | None = None
        self.keys = codegen.keys_of(None, path)
        try:
            self.registration = config_file.load(path)
            self.keys = codegen.keys_of(self.registration, path)
        except UserError as error:
            self.failure = error

    def require(self) -> config_file.Registration:
        """What config.py registered. Raises the UserError that loading it ended with."""
        if self.failure is not None or self.registration is None:
            raise self.failure or UserError(f"{self.path} registers nothing")
        return self.registration


class ApplicationCommand(OneLineErrors):
    """A command with an option for every key of the config.py that it is called on."""

    may_be_empty = _KEY_PREFIX

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from mirage_py.configure.request import CONFIG_NAME

        file = _option_value(args, "-f", "--file")
        application = Application(Path(file or CONFIG_NAME))
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


def make_request(file: str, output: str | None, target: str | None, keys: dict[str, Any]) -> Request:
    """What `application_options` and the options of the keys ask for."""
    from mirage_py.configure.request import Request

    values = {
        name.removeprefix(_KEY_PREFIX).replace("_", "-"): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in keys.items()
        if value is not None
    }
    return Request(Path(file), Path(output) if output else None, target, values)


def configured(context: click.Context, request: Request) -> Configuration:
    """What `describe` and `query` are about: what was configured last, unless options ask for something else."""
    from mirage_py.configure import codegen

    if request.target is None and not request.values:
        try:
            recorded = codegen.recorded_request(request.output_directory)
        except UserError:
            # Nothing has been configured there; where something has, and it is damaged, that is to be known.
            if os.path.lexists(request.output_directory / codegen.CONFIG_PATH):
                raise
        else:
            if recorded.config == request.config.absolute():
                request = recorded
    return codegen.configure(request, registration_of(context))


def registration_of(context: click.Context) -> config_file.Registration:
    """What config.py registered. Raises UserError when it could not be loaded."""
    application: Application = context.meta[_APPLICATION]
    return application.require()
