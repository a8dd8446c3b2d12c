"""Adjustments as the operator asks for them: planned for their moment, once an id, with who and why in the event."""

from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from ledger.adjustments import Adjusted, Adjustment, adjustment_sent
from ledger.decisions import StalePlan
from ledger.errors import StoreUnavailable
from ledger.plans import compile_plan
from ledger.rules import RuleSet

MAX_NOTE_LENGTH: Final = 500
ATTEMPTS: Final = 2


class AdjustableLedger(Protocol):
    """What of a ledger an adjustment needs; see `ledger.operations.Ledger`."""

    async def store_time_ms(self) -> int:
        """Return the store's time, Unix milliseconds."""
        ...

    async def adjust(self, adjustment: Adjustment) -> Adjusted | StalePlan:
        """Do one adjustment, once a request id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentRequest:
    """What the operator sent; `amount_nanos` is below zero for a credit, `at_ms` None means now."""

    user_id: str
    request_id: str
    amount_nanos: int
    tier: str | None
    at_ms: int | None
    note: str


async def adjust(ledger: AdjustableLedger, rule_set: RuleSet, request: AdjustmentRequest, *, actor: str) -> Adjusted:
    """Do one adjustment; raises what `ledger.adjust` raises. A window that ended on the way is planned anew, once."""
    now_ms = await ledger.store_time_ms()
    for _ in range(ATTEMPTS):
        answer = await ledger.adjust(_adjustment(rule_set, request, actor, now_ms))
        if isinstance(answer, Adjusted):
            return answer
        now_ms = answer.store_ms
    raise StoreUnavailable("the store's clock does not stand still; try again with the same request_id")


def _adjustment(rule_set: RuleSet, request: AdjustmentRequest, actor: str, now_ms: int) -> Adjustment:
    planned_ms = now_ms if request.at_ms is None else request.at_ms
    return Adjustment(
        user_id=request.user_id,
        request_id=request.request_id,
        amount_nanos=request.amount_nanos,
        plan=compile_plan(rule_set, request.user_id, request.tier, planned_ms),
        sent=adjustment_sent(request.tier, request.amount_nanos, request.at_ms),
        at_ms=request.at_ms,
        meta=orjson.dumps({"actor": actor, "note": request.note}).decode(),
    )
