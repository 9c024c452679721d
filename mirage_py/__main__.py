# SPDX-License-Identifier: MIT
"""`python -m mirage_py`: the same as `mirage-py`; generated Makefiles call the tool this way."""

from mirage_py.cli.commands import main

if __name__ == "__main__":
    main()
