"""One figure of the audit that is not what it must be."""

from dataclasses import dataclass

from ledger.money import usd_text


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One figure that is not what the records say; amounts are nano-USD."""

    what: str
    relation: str
    expected_nanos: int
    found_nanos: int

    def __str__(self) -> str:
        expected, found = usd_text(self.expected_nanos), usd_text(self.found_nanos)
        return f"{self.what}: expected {self.relation} ${expected}, found ${found}"
