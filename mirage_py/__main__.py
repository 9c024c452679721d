# SPDX-License-Identifier: MIT
"""Where both commands and `python -m mirage_py` begin: Ctrl-C is no traceback from the first moment on."""

# The module `signal` takes some milliseconds to load, in which Ctrl-C would be a traceback.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

EXIT_INTERRUPTED = 130


def _leave(_number: int, _frame: object) -> None:
    os._exit(EXIT_INTERRUPTED)


def _call(command: str) -> None:
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        # Loading the tool takes longer than changing one's mind, and there is nothing to clean up yet.
        signal.signal(signal.SIGINT, _leave)
    from mirage_py.cli import commands

    try:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        getattr(commands, command)()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        if is_ours:
            # What is left to do is the interpreter's: it would print a traceback again.
            signal.signal(signal.SIGINT, _leave)


def main() -> None:
    """The command `mirage-py`."""
    _call("main")


def configure_main() -> None:
    """The command `configure`: `mirage-py configure`."""
    _call("configure_main")


if __name__ == "__main__":
    main()
