"""Where a run of a program stands in the history of a partition's data, and what of that history the data still has.

A lineage is the data as one run of a server carries it on. What a crash or a failover takes is always the newest, so a
run has survived if its number is not after the end of its lineage (``lua/include/lineage.lua``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_END: Final = "end:"


@dataclass(frozen=True, slots=True)
class Place:
    """A run that changed something: the lineage of the data, and which one of its runs it was."""

    lineage: str
    number: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a partition's data says of itself: its lineage, and with which run those before it have ended."""

    current: str
    ends: Mapping[str, int]

    def has(self, place: Place) -> bool:
        """Say whether what was done at a place is still in the data."""
        return place.lineage == self.current or place.number <= self.ends.get(place.lineage, 0)


def decode_place(reply: list[Any]) -> Place | None:
    """Return the place that a program told; None for a run that has none."""
    return Place(reply[0].decode(), reply[1]) if reply else None


def decode_lineage(fields: Mapping[bytes, bytes]) -> Lineage:
    """Return the lineage of a stored hash."""
    texts = {name.decode(): value.decode() for name, value in fields.items()}
    ends = {name.removeprefix(_END): int(text) for name, text in texts.items() if name.startswith(_END)}
    return Lineage(texts.get("lineage", ""), ends)
