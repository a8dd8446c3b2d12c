"""What a journal tells the ledger to do again: operations with the ids, plans and times of then.

Nothing is decided anew, and nothing is done twice: a request id that is known stays as it is.
"""

from dataclasses import dataclass
from enum import StrEnum

from ledger.decisions import Decision, Reason
from ledger.plans import Plan


class RestoreKind(StrEnum):
    """What was done then. A deny and a void are of calls that were refused without the store.

    A deny is only logged; a void undoes the check or reserve that its caller was told no of, if it has landed.
    """

    CHECK = "check"
    RESERVE = "reserve"
    DENY = "deny"
    VOID = "void"
    SETTLE = "settle"
    RELEASE = "release"
    EXTEND = "extend"
    RECORD = "record"


class Restored(StrEnum):
    """What came of it: done now; nothing to do; its hold is not known (yet); to be repeated later; refused."""

    APPLIED = "applied"
    KNOWN = "known"
    MISSING = "missing"
    EARLY = "early"
    CONFLICT = "conflict"
    TOO_OLD = "too_old"


@dataclass(slots=True, kw_only=True)
class Restore:
    """One operation to be done again, as `Admission` and `Resolution` had it; `at_ms` is when, in store time.

    A check or reserve has the `decision` that it was answered with, or that as text (`answer`), or the `reason` why it
    was decided without the store. A settle has the plan of its reserve, at `reserved_at_ms`, if its hold may be unknown
    for good.
    """

    kind: RestoreKind
    user_id: str
    request_id: str
    at_ms: int
    plan: Plan | None = None
    amount_nanos: int | None = None
    sent: str = ""
    ttl_ms: int = 0
    reserved_at_ms: int | None = None
    group: str = ""
    model: str = ""
    price_version: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    unpriced: bool = False
    attempt: str = ""
    not_after_ms: int = 0
    meta: str = ""
    reason: Reason | None = None
    decision: Decision | None = None
    answer: str = ""


def answer_text(decision: Decision) -> str:
    """Return a decision as ``lua/admit.lua`` answers and keeps it; `script_answers.decode_admission` reads it."""
    if decision.text:
        return decision.text
    chosen = 0 if decision.decider is None else decision.decider + 1
    retry_after = -1 if decision.retry_after_ms is None else decision.retry_after_ms
    words = [f"{decision.at_ms} {decision.outcome} {chosen} {decision.reason} {retry_after}"]
    for budget in decision.budgets:
        warning = budget.warning
        told = f"{warning.kind} {warning.threshold_pct or 0} {int(warning.first)}" if warning else "- 0 0"
        words.append(f"{budget.outcome} {budget.spend_nanos} {budget.held_nanos} {told} {int(budget.seeded)}")
    return " ".join(words)
