# SPDX-License-Identifier: MIT
"""`python -m mirage_py.nic`."""

import sys

from mirage_py.nic.main import main

sys.exit(main())
