"""One figure of the audit that is not what it must be, and where that figure stands."""

from dataclasses import dataclass, field
from enum import StrEnum

from ledger.money import usd_text
from ledger.windows import Window


class FigureKind(StrEnum):
    """A user's spend, as records or its days tell it, what is held of it, a tier's spend, or a hold in its index."""

    SPEND = "spend"
    DAYS = "days"
    HELD = "held"
    TOTAL = "total"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One that can be put right. `name` is a user or a tier; `record` the key of a hold's, without its workspace."""

    kind: FigureKind
    name: str
    window: Window | None = None
    record: bytes = b""


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One figure that is not what the records say; amounts are nano-USD. `figure` is None where nothing can be done."""

    what: str
    relation: str
    expected_nanos: int
    found_nanos: int
    figure: Figure | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        expected, found = usd_text(self.expected_nanos), usd_text(self.found_nanos)
        return f"{self.what}: expected {self.relation} ${expected}, found ${found}"
