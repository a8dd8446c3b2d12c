"""The request records of `ledger.memory_ledger`: what was answered under each id, and the life of each hold."""

from dataclasses import dataclass, field

from ledger.adjustments import Adjusted
from ledger.decisions import RETENTION_MS, Decision, HoldState, Operation, Settlement
from ledger.keys import PartitionKeys
from ledger.plans import Plan

MAX_ATTEMPTS = 8

_KEYS = PartitionKeys.of("memory", 0)


@dataclass(slots=True, kw_only=True)
class Record:
    """One request id of a user. Amounts are nano-USD, times Unix milliseconds.

    `operation` is check, reserve, adjust, or settle for one that was reconstructed. `state` is None without a hold.
    `plan` fixes the windows, rules and policies that hold until the end. `amount_nanos` is the check's cost, the
    estimate or the adjustment, `charged_nanos` what the counters' spend has of it now. Tokens are those that were
    charged; `unpriced` marks an amount that stands for a usage without a price, which a settle may still correct.
    """

    operation: Operation
    plan: Plan
    user_id: str
    request_id: str
    sent: str
    state: HoldState | None
    amount_nanos: int
    charged_nanos: int
    admitted_ms: int
    changed_ms: int
    deadline_ms: int = 0
    group: str = ""
    model: str = ""
    price_version: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    unpriced: bool = False
    attempts: list[str] = field(default_factory=list)
    decision: Decision | None = None
    settle_sent: str = ""
    settlement: Settlement | None = None
    adjusted: Adjusted | None = None
    kept_ms: int = RETENTION_MS

    @property
    def is_open(self) -> bool:
        """Say whether the hold still holds its estimate."""
        return self.state is HoldState.OPEN

    def is_due(self, now_ms: int) -> bool:
        """Say whether the hold is open although its deadline has come."""
        return self.is_open and self.deadline_ms <= now_ms

    def note_attempt(self, attempt: str, now_ms: int) -> None:
        """Note that one more attempt is told the answer, so that the void of another one does not undo it."""
        if attempt and attempt not in self.attempts:
            self.attempts = [*self.attempts, attempt][-MAX_ATTEMPTS:]
            self.changed_ms = now_ms

    @property
    def order(self) -> tuple[int, str]:
        """The order in which holds are resolved: the earliest deadline, then the record's key in Redis."""
        return self.deadline_ms, _KEYS.request(self.user_id, self.request_id)


class Records:
    """Records by (user, request id), and markers of the ids whose settle belonged to no hold."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], Record] = {}
        self._marked_ms: dict[tuple[str, str], int] = {}

    def find(self, user_id: str, request_id: str, now_ms: int) -> Record | None:
        """Return the record of a request id unless it was forgotten: 48 h after the check or the hold's end.

        An adjustment is kept for 70 days.
        """
        record = self._records.get((user_id, request_id))
        if record is None or (not record.is_open and now_ms - record.changed_ms > record.kept_ms):
            return None
        return record

    def add(self, record: Record) -> None:
        """Keep a record; it takes the place of a forgotten one, and of a marker."""
        self._records[record.user_id, record.request_id] = record
        self._marked_ms.pop((record.user_id, record.request_id), None)

    def touch(self, user_id: str, request_id: str, now_ms: int) -> None:
        """Keep a record, if there is one, as if it had changed now."""
        record = self._records.get((user_id, request_id))
        if record is not None:
            record.changed_ms = now_ms

    def remove(self, record: Record) -> None:
        """Forget a record at once."""
        del self._records[record.user_id, record.request_id]

    def mark_unattributed(self, user_id: str, request_id: str, now_ms: int) -> bool:
        """Mark an id whose settle belonged to no hold; say whether this is the first time within the retention."""
        marked_ms = self._marked_ms.get((user_id, request_id))
        if marked_ms is not None and now_ms - marked_ms <= RETENTION_MS:
            return False
        self._marked_ms[user_id, request_id] = now_ms
        return True

    def open_holds(self, user_id: str) -> list[Record]:
        """Return the user's open holds, the earliest deadline first."""
        holds = [record for record in self._records.values() if record.user_id == user_id and record.is_open]
        return sorted(holds, key=lambda record: record.order)

    def users_due(self, now_ms: int) -> list[str]:
        """Return the users with a hold past its deadline, the longest overdue first."""
        due = sorted((record.deadline_ms, record.user_id) for record in self._records.values() if record.is_due(now_ms))
        return list(dict.fromkeys(user_id for _, user_id in due))
