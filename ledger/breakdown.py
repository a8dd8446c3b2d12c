"""The breakdown: what was used in a day of the workspace, by group, by model and by tier."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

MAX_BREAKDOWN_NAMES: Final = 1000
"""Of a dimension, a day and a partition; names that come later are counted together."""
NANOS_PER_MILLION_USD: Final = 10**15


class Dimension(StrEnum):
    """What calls are told apart by."""

    GROUP = "group"
    MODEL = "model"
    TIER = "tier"


class NameKind(StrEnum):
    """What a row stands for: a name, calls without one, names beyond the bound, or operators' corrections."""

    NAMED = "named"
    NONE = "none"
    OTHER = "other"
    ADJUSTED = "adjusted"


class RowKey(NamedTuple):
    """A row of a day; `name` is empty but for `NAMED`."""

    dimension: Dimension
    kind: NameKind
    name: str = ""

    @classmethod
    def of(cls, dimension: Dimension, name: str) -> "RowKey":
        """Return the row of a name as it was sent; the empty name stands for none."""
        return cls(dimension, NameKind.NAMED if name else NameKind.NONE, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Calls, tokens and cost, and how much of it had no price. Nano-USD; sums may pass the cap and 2^53."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    unpriced_calls: int = 0
    unpriced_nanos: int = 0

    def __add__(self, other: "Used") -> "Used":
        """Return the sum of both."""
        return Used(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_nanos=self.cost_nanos + other.cost_nanos,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
            unpriced_nanos=self.unpriced_nanos + other.unpriced_nanos,
        )

    def __neg__(self) -> "Used":
        """Return what takes this away again."""
        return Used(
            calls=-self.calls,
            input_tokens=-self.input_tokens,
            output_tokens=-self.output_tokens,
            cost_nanos=-self.cost_nanos,
            unpriced_calls=-self.unpriced_calls,
            unpriced_nanos=-self.unpriced_nanos,
        )


NOTHING: Final = Used()

Rows = dict[RowKey, Used]

_DIMENSIONS: Final = {dimension[0]: dimension for dimension in Dimension}
_SPECIAL: Final = {"/other": NameKind.OTHER, "/adjusted": NameKind.ADJUSTED}


def decode_rows(fields: Mapping[bytes, bytes]) -> Rows:
    """Return the rows of one day's hash, as ``lua/include/breakdown.lua`` writes it."""
    keyed = ((_row_key(field.decode()), value) for field, value in fields.items())
    return {key: _used(value) for key, value in keyed if key is not None}


def _row_key(field: str) -> RowKey | None:
    """Return the row of a field; None for one that is about the hash itself."""
    dimension, rest = _DIMENSIONS.get(field[:1]), field[1:]
    if dimension is None:
        return None
    if rest.startswith(":"):
        return RowKey.of(dimension, rest[1:])
    kind = _SPECIAL.get(rest)
    return None if kind is None else RowKey(dimension, kind)


def _used(text: bytes) -> Used:
    calls, input_tokens, output_tokens, millions, rest, *unpriced = [int(number) for number in text.split(b" ")]
    unpriced_calls, unpriced_millions, unpriced_rest = unpriced or (0, 0, 0)
    return Used(
        calls=calls,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_nanos=millions * NANOS_PER_MILLION_USD + rest,
        unpriced_calls=unpriced_calls,
        unpriced_nanos=unpriced_millions * NANOS_PER_MILLION_USD + unpriced_rest,
    )
