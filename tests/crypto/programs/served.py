# SPDX-License-Identifier: MIT
"""The agent on standard input and output."""

import agent

agent.main()
