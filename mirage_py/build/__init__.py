# SPDX-License-Identifier: MIT
"""From the plan to an image: pinned sources, the runtime, freezing, linking; finished images."""
