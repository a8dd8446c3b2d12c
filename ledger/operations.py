"""What the ledger is asked, and the protocol that its two implementations share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.adjustments import Adjusted, Adjustment
from ledger.decisions import Decision, Operation, Reason, Settlement, StalePlan, TooLate, UserUsage
from ledger.errors import LedgerError
from ledger.plans import FIELD, Plan
from ledger.restores import Restore, Restored


@dataclass(slots=True, kw_only=True)
class Admission:
    """A check or a reserve. Amounts are nano-USD, `not_after_ms` is store time, `ttl_ms` only for reserves.

    `sent` is the text that two requests with the same id must share (`sent_text`). With `refusal` the call is
    refused and logged whatever the counters say, in the name of `plan.budgets[refusal_budget]`. `unpriced` marks a
    usage without a price that proceeds all the same. Tokens are those of a check's usage; `price_version` names the
    prices that made the amount of a usage. `attempt` names who asks: a void takes back what that one was not told of.
    """

    operation: Operation
    plan: Plan
    request_id: str
    user_id: str
    amount_nanos: int
    sent: str
    not_after_ms: int
    ttl_ms: int = 0
    group: str = ""
    model: str = ""
    price_version: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    meta: str = ""
    refusal: Reason | None = None
    refusal_budget: int | None = None
    unpriced: bool = False
    attempt: str = ""


@dataclass(slots=True, kw_only=True)
class Resolution:
    """A settle, release or extend, the sweeper's expire (which has no request id), or the record of a direct charge.

    `amount_nanos` is None for a settle whose usage has no price. `plan` is the plan at `reserved_at_ms` and goes with
    it: what a settle of an unknown id charges, for its `group`; a known hold keeps that of its reserve.

    A record has a plan always: that of now, or of `reserved_at_ms` if it was made then. Without a `user_id` it counts
    for its tier and in the breakdown only (`plan_without_user`).
    """

    operation: Operation
    user_id: str
    request_id: str = ""
    amount_nanos: int | None = None
    sent: str = ""
    ttl_ms: int = 0
    reserved_at_ms: int | None = None
    plan: Plan | None = None
    group: str = ""
    model: str = ""
    price_version: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


Admitted = Decision | StalePlan | TooLate | LedgerError
Resolved = Settlement | StalePlan | LedgerError | None
"""None is the answer to an expire, a stale plan one to a record."""


class Ledger(Protocol):
    """Budgets, holds and their events. Every operation of one call belongs to one partition.

    A list of operations is decided in order, each on its own: one that fails gives its error as its result and
    changes nothing. `StoreError` is raised when the store gave no answer for the call.
    """

    async def admit(self, admissions: Sequence[Admission]) -> list[Admitted]:
        """Decide checks and reserves in one atomic step (``lua/admit.lua``)."""
        ...

    async def resolve(self, resolutions: Sequence[Resolution]) -> list[Resolved]:
        """Settle, release, extend and expire holds, and record direct charges, in one step (``lua/resolve.lua``)."""
        ...

    async def adjust(self, adjustment: Adjustment) -> Adjusted | StalePlan:
        """Correct what a user has spent, in an operator's name (``lua/adjust.lua``).

        Raises `RequestMismatch`, `CreditExceedsSpend`, `CounterOverflow`, and `InvalidInput` for a moment that lies
        ahead or more than 35 days back; nothing was changed then.
        """
        ...

    async def restore(self, restores: Sequence[Restore]) -> list[Restored]:
        """Do again what a journal tells, once, in one atomic step (``lua/restore.lua``)."""
        ...

    async def usage(self, user_id: str, plan: Plan) -> UserUsage:
        """Read the counters of `plan` for a user (``lua/usage.lua``)."""
        ...

    async def due_users(self, partition: int, limit: int) -> list[str]:
        """List users who may have holds past their deadline, the longest overdue first."""
        ...

    async def trim_events(self, partition: int) -> None:
        """Drop the events of a partition that are older than 35 days, approximately."""
        ...

    async def store_time_ms(self) -> int:
        """Return the store's time, Unix milliseconds."""
        ...


SENT_FIELDS = ("operation", "tier", "amount", "ttl_s")


def sent_text(operation: Operation, tier: str | None, amount: str, ttl_ms: int) -> str:
    """Return what is compared when a request id comes again: operation, tier, amount or usage as sent, ttl.

    `amount` is ``"<nanos>"`` or a usage's canonical text.
    """
    return FIELD.join([operation, tier or "", amount, str(ttl_ms)])


def first_difference(sent: str, stored: str, fields: Sequence[str] = SENT_FIELDS) -> str:
    """Name the first of four `fields` in which two texts differ: those of `sent_text`, or of `adjustment_sent`."""
    pairs = zip(fields, sent.split(FIELD), stored.split(FIELD), strict=True)
    return next((name for name, ours, theirs in pairs if ours != theirs), fields[0])
