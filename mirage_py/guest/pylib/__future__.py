# SPDX-License-Identifier: MIT
"""`from __future__ import annotations` and its like: names only, for MicroPython behaves so without being asked.

Annotations are never evaluated (PEP 563), `/` divides as in Python 3, a StopIteration that leaves a generator becomes a
RuntimeError (PEP 479). A name that is not here is an ImportError, where CPython has a SyntaxError.
"""

absolute_import = annotations = division = generator_stop = generators = True
nested_scopes = print_function = unicode_literals = with_statement = True
