"""A user's counter or a tier's total as it is stored: one text, written by ``lua/include/counters.lua``."""

from dataclasses import dataclass, field
from typing import Final

from ledger.decisions import CounterState

EXTRA_SEPARATOR: Final = "\x1e"
VALUE_SEPARATOR: Final = "\x1d"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCounter:
    """What one text says; nano-USD. `adjusted` sums corrections; `marks` are those of thresholds, by name."""

    spend_nanos: int
    held_nanos: int
    calls: int
    calendar: str = ""
    seeded: bool = False
    adjusted_nanos: int = 0
    marks: dict[str, int] = field(default_factory=dict)

    @property
    def state(self) -> CounterState:
        """The counter as decisions see it."""
        return CounterState(self.spend_nanos, self.held_nanos, self.calls, self.seeded)


def parse_counter(text: bytes) -> StoredCounter:
    """Return a stored counter; `spend_nanos` may pass the cap and 2^53."""
    numbers, *extras = text.decode().split(EXTRA_SEPARATOR)
    spend, held, calls, calendar = numbers.split(" ", 3)
    named = {name: int(number) for name, number in (extra.split(VALUE_SEPARATOR) for extra in extras)}
    return StoredCounter(
        spend_nanos=int(spend),
        held_nanos=int(held),
        calls=int(calls),
        calendar=calendar,
        seeded=named.pop("seeded", 0) == 1,
        adjusted_nanos=named.pop("adjusted", 0),
        marks=named,
    )
