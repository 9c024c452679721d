# SPDX-License-Identifier: MIT
"""How a command tells an error: one line with cause and remedy, and an exit code that is not zero."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from mirage_py.support.errors import UserError

EXIT_INTERRUPTED = 130


class OneLineErrors(click.Command):
    """A command whose errors are one line with cause and remedy; --debug adds the traceback."""

    # Parameters whose value may be empty: those of the application's keys.
    may_be_empty = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for parameter in self.get_params(ctx):
            value = ctx.params.get(parameter.name or "")
            is_free = self.may_be_empty and (parameter.name or "").startswith(self.may_be_empty)
            if not is_free and (value == "" or (isinstance(value, tuple) and "" in value)):
                # What a variable of the shell that is not set leaves: it does not mean the default.
                raise click.BadParameter("it is empty", ctx, parameter)
        return rest

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
