# SPDX-License-Identifier: MIT
"""A relay between two network cards: what comes in at one goes out at the other. docs/relay.md tries it out."""

from mirage_py.dsl import console, default_network, event_loop, key, register, unikernel

# As many octets as an 82599's frames may carry; virtio-net and TAPs have theirs from outside.
mtu = key("mtu", type="int", default=1500, stage="configure", doc="the MTU of 82599 cards, 68 to 9000")
# Where one card cannot send what the other receives: large segments.
large = key("large-segments", type="bool", default=True, stage="configure", doc="whether virtio cards may receive them")
report = key(
    "report", type="duration", default="10s", doc="how often to say what was relayed, while there was something"
)
# An 82599 could join received segments to packets larger than what it can send.
left = default_network("left", mtu=mtu, coalesce=False, offloads=large)
right = default_network("right", mtu=mtu, coalesce=False, offloads=large)
register("relay", unikernel("relay.Relay", left, right, event_loop(), console(), keys=[report]))
