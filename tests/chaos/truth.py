"""What callers know: which calls they made, what they were answered, and so what the ledger must say."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.windows import WindowType
from tests.support.apps import Answer
from tests.support.books import Books

CHECK: Final = "check"
RESERVE: Final = "reserve"
NANOS: Final = 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Deal:
    """One paid call of a user: checked, or reserved and settled. `charged_nanos` is what its caller knows it cost.

    `acknowledged_nanos` is what the ledger itself has answered exactly: the part that must never be lost. `last` is the
    last answer, None if there was none.
    """

    request_id: str
    user_id: str
    operation: str
    estimate_nanos: int
    actual_nanos: int
    is_admitted: bool = False
    is_done: bool = False
    acknowledged_nanos: int = 0
    last: Answer | None = None

    @property
    def charged_nanos(self) -> int:
        """What is charged once the deal is done."""
        return self.actual_nanos if self.operation == RESERVE else self.estimate_nanos


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the ledger says beside the truth; amounts are nano-USD."""

    lost: int
    lost_nanos: int
    wrong_users: dict[str, int]
    audit_differences: list[str]

    @property
    def difference_nanos(self) -> int:
        """By how much all users' spend differs from the truth, too much and too little added up."""
        return sum(abs(difference) for difference in self.wrong_users.values())


@dataclass(slots=True)
class Truth:
    """All deals and the answers to them."""

    deals: dict[str, Deal] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    misdirected: int = 0
    gaps_s: list[float] = field(default_factory=list)
    last_exact_s: float | None = None

    def note(self, deal: Deal, answer: Answer | None, at_s: float, url: str = "") -> bool:
        """Note an answer of the sidecar at `url` (None: there was none); says whether the ledger itself gave it."""
        deal.last = answer
        if answer is None or answer.status != 200:
            self.answers["failed"] += 1
            return False
        document = answer.document
        is_its = (document["request_id"], document["user_id"]) == (deal.request_id, deal.user_id)
        if not is_its or (answer.is_exact and not self.is_about(deal, document)):
            self.misdirected += 1
        if not answer.is_exact:
            self.answers["degraded_allowed" if document["allowed"] else "degraded_denied"] += 1
            return False
        self.answers["exact"] += 1
        if self.last_exact_s is not None:
            self.gaps_s.append(at_s - self.last_exact_s)
        self.last_exact_s = at_s
        return True

    def is_about(self, deal: Deal, document: Mapping[str, Any]) -> bool:
        """Say whether the numbers of an exact answer can be those of this deal: what its settle has charged."""
        return not deal.is_admitted or bool(document["cost_usd"] == deal.actual_nanos / NANOS)

    def compare(self, books: Books) -> Comparison:
        """Compare with the ledger: acknowledged deals it has forgotten, and users whose spend is not what was charged.

        Deals that are not done are left out of the spend of their users: finish them first for an exact comparison.
        """
        records = {record.request_id: record for record in books.snapshot.records}
        lost = [
            deal
            for deal in self.deals.values()
            if deal.acknowledged_nanos
            and (deal.request_id not in records or records[deal.request_id].charged_nanos < deal.acknowledged_nanos)
        ]
        expected: dict[str, int] = defaultdict(int)
        for deal in self.deals.values():
            expected[deal.user_id] += deal.charged_nanos if deal.is_done else 0
        found = _months(books)
        return Comparison(
            lost=len(lost),
            lost_nanos=sum(deal.acknowledged_nanos for deal in lost),
            wrong_users={user: found[user] - nanos for user, nanos in expected.items() if found[user] != nanos},
            audit_differences=[str(difference) for difference in books.report.differences],
        )


def _months(books: Books) -> dict[str, int]:
    """Return what each user has spent in all months: a clock that jumps may begin another one."""
    found: dict[str, int] = defaultdict(int)
    for (window, user), counter in books.snapshot.counters.items():
        if window.type is WindowType.MONTH:
            found[user] += counter.spend_nanos
    return found
