# SPDX-License-Identifier: MIT
"""Losses, repetitions and damage on the way between far and the guest, by nft (this kernel may have no netem).

Only what comes from or goes to far is touched, so orders from near get through. Damage is done where frames carry a
complete checksum: on the way out of tap0 for what far sent, on the way in at far for what the guest sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.interop.network import Family, Network

# Which octets of a TCP header are damaged: sequence number, flags, window, and data behind a timestamp option.
FLIPPED_BITS = (32, 104, 112, 256, 2400)


@dataclass(frozen=True)
class Impairment:
    """Of a thousand frames each way, how many are lost, come twice, or are damaged."""

    drops: int = 0
    duplicates: int = 0
    flips: int = 0


class Impaired:
    """The network while it is so."""

    def __init__(self, network: Network, family: Family, impairment: Impairment) -> None:
        self.network = network
        self._family = family
        self._impairment = impairment

    def __enter__(self) -> Impaired:
        word = "ip6" if ":" in self._family.far else "ip"
        from_far, to_far = f"{word} saddr {self._family.far}", f"{word} daddr {self._family.far}"
        network = self.network
        self._load(network, "near", "egress", "tap0", from_far, network.far is not network.near)
        self._load(network, "near", "egress", "to-far", to_far, False)
        self._load(network, "far", "ingress", "to-near", to_far, True)
        return self

    def _load(self, network: Network, where: str, hook: str, device: str, match: str, is_complete: bool) -> None:
        wanted = self._impairment
        rules = []
        # Losses and repetitions once each way; a repetition needs a way out.
        if hook == "egress":
            rules.append(f"{match} numgen random mod 1000 < {wanted.drops} counter drop")
            rules.append(f"{match} numgen random mod 1000 < {wanted.duplicates} counter dup to {device}")
        if is_complete and wanted.flips:
            # Each rule is for one kind of damage; together they make up the rate. A frame gets one at most: two bits
            # of equal weight, one up and one down, leave the Internet checksum as it was.
            share = 1000 * len(FLIPPED_BITS)
            rules += [
                f"{match} meta l4proto tcp numgen random mod {share} < {wanted.flips} counter "
                f"@th,{bit},8 set @th,{bit},8 ^ 0x10 accept"
                for bit in FLIPPED_BITS
            ]
        name = f"impair_{device.replace('-', '_')}"
        chain = [f"type filter hook {hook} device {device} priority 0; policy accept;", *rules]
        lines = "\n".join([f"table netdev {name} {{", "chain impair {", *chain, "}", "}", ""])
        namespace = network.near if where == "near" else network.far
        namespace.run("nft", "-f", "-", stdin=lines.encode(), check=True)

    def __exit__(self, *_: object) -> None:
        for namespace in {self.network.near, self.network.far}:
            namespace.sh("nft flush ruleset")

    def hits(self) -> dict[str, int]:
        """How many frames were lost ("drop"), repeated ("dup") and damaged ("mangle") so far."""
        found = {"drop": 0, "dup": 0, "mangle": 0}
        for namespace in {self.network.near, self.network.far}:
            listing = json.loads(namespace.run("nft", "-j", "list", "ruleset", check=True).stdout)
            for item in listing["nftables"]:
                statements = item.get("rule", {}).get("expr", [])
                packets = sum(statement["counter"]["packets"] for statement in statements if "counter" in statement)
                for kind in found:
                    if any(kind in statement for statement in statements):
                        found[kind] += packets
        return found
