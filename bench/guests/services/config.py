# SPDX-License-Identifier: MIT
"""The benchmark's server: echo, a sink, a source, and how much memory is in use, on whatever stack was chosen."""

from mirage_py.dsl import generic_stack, register, unikernel

register("services", unikernel("services.Services", generic_stack()))
