# SPDX-License-Identifier: MIT
"""A model of the Intel 82599 10 Gigabit Ethernet controller, as its datasheet (rev. 3.4) shows it to software."""
