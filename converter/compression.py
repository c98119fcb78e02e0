"""How far a model's weights are simplified before it is quantized, and the names of that. Pure.

Rules:
- the file keeps its size, its kernels and its speed: only the entropy of the weights falls, and so what
  travels to a device;
- a name is its parts joined by "+": "prune90" (share of the weights that become zero, in per cent),
  "4bit" (weights take 2^4 - 1 evenly spaced values in each output channel), "cluster16" (16 values that
  k-means found, beside zero), "aware" (8 bits, as int8 will make of the weights);
- whatever its level, fine-tuned weights stand where int8 per channel keeps them exactly. Activations are
  not rounded in training: that measured worse (95.3 % against 95.6 %, int8 without any 95.5 %).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from wire.errors import SettingsError

_PARTS: Final = re.compile(
    r"prune(?P<sparsity>\d+(\.\d+)?)|(?P<bits>\d+)bit|cluster(?P<clusters>\d+)|(?P<aware>aware)"
)
_EXAMPLES: Final = "prune90, 4bit, prune90+4bit, cluster16 or aware"


@dataclass(frozen=True)
class Compression:
    """`sparsity` 0 to .99, `bits` 2 to 8, `clusters` 0 (none) or 2 to 128; raises SettingsError beyond.

    Without any of them it is "none".
    """

    sparsity: float = 0.0
    bits: int = 8
    clusters: int = 0
    aware: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity <= 0.99:
            raise SettingsError(
                f"prune{self.sparsity * 100:g}: give 1 to 99, the per cent of weights that go"
            )
        if not 2 <= self.bits <= 8:
            raise SettingsError(f"{self.bits}bit: give 2 to 7 bits")
        if self.clusters and not 2 <= self.clusters <= 128:
            raise SettingsError(f"cluster{self.clusters}: give 2 to 128 clusters")
        if self.clusters and self.bits < 8:
            raise SettingsError(f"cluster{self.clusters} and {self.bits}bit exclude each other: give one")

    @property
    def name(self) -> str:
        """What users write: "prune90+4bit"; `parse` reads it."""
        parts = [
            f"prune{round(self.sparsity * 100, 2):g}" if self.sparsity else "",
            f"{self.bits}bit" if self.bits < 8 else "",
            f"cluster{self.clusters}" if self.clusters else "",
            "aware" if self.aware else "",
        ]
        return "+".join(filter(None, parts)) or "none"

    @classmethod
    def parse(cls, text: str) -> Compression:
        """Return the compression named `text`; raise SettingsError for a name that is none."""
        said: dict[str, str] = {}
        for part in [] if text == "none" else text.split("+"):
            found = _PARTS.fullmatch(part)
            if found is None:
                raise SettingsError(f"compression {text!r}: {part!r} is unknown, write {_EXAMPLES}")
            ((key, value),) = ((key, value) for key, value in found.groupdict().items() if value is not None)
            if part == "8bit" or not value.strip("0."):
                raise SettingsError(f"compression {text!r}: {part!r} changes nothing, leave it out")
            if key in said:
                raise SettingsError(f"compression {text!r} says twice how far: give one {key}")
            said[key] = value
        return cls(
            sparsity=float(said.get("sparsity", 0)) / 100,
            bits=int(said.get("bits", 8)),
            clusters=int(said.get("clusters", 0)),
            aware="aware" in said,
        )


_LADDER: Final = (
    "aware",
    "5bit",
    "4bit",
    "prune50+4bit",
    "prune80+4bit",
    "prune90+4bit",
    "prune95+3bit",
    "prune97+3bit",
    "prune98+3bit",
)


def levels() -> tuple[Compression, ...]:
    """Return what a search tries, mildest first."""
    return tuple(Compression.parse(name) for name in _LADDER)
