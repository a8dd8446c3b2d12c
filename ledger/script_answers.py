"""The replies of the programs in ``lua/`` to decisions, settlements and errors."""

from collections.abc import Sequence
from typing import Any

from ledger.adjustments import (
    ADJUSTMENT_FIELDS,
    Adjusted,
    AdjustedWindow,
    Adjustment,
    credit_exceeds_spend,
    moment_in_future,
    moment_too_old,
)
from ledger.decisions import (
    Budget,
    BudgetTerms,
    CounterState,
    Decision,
    HoldState,
    Operation,
    Outcome,
    Reason,
    Settlement,
    StalePlan,
    TooLate,
    UserUsage,
    Warning,  # noqa: A004 - the contract's word
    WarningKind,
)
from ledger.errors import (
    CounterOverflow,
    HoldConflict,
    HoldNotFound,
    HoldTooOld,
    InvalidInput,
    LedgerError,
    RequestMismatch,
)
from ledger.operations import Admission, Admitted, Resolution, Resolved, first_difference
from ledger.plans import decode_context, parse_window_code

OUTCOMES = {str(outcome): outcome for outcome in Outcome}
REASONS = {str(reason): reason for reason in Reason}
WARNINGS = {str(kind): kind for kind in WarningKind}
NUMBERS_PER_LINE = 7

CONFLICTS = {
    "not_a_hold": "this request id belongs to a charge, not to an open hold",
    "already_settled": "the hold was settled, and the first settle is final",
    "already_released": "the hold was released",
    "hold_expired": "the hold is past its deadline; settle it, or reserve anew under another request id",
}


def decode_admission(admission: Admission, reply: bytes | list[Any]) -> Admitted:
    """Return what ``lua/admit.lua`` answered to one call; a replay gives the admission the amount of then."""
    if isinstance(reply, bytes):
        plan = admission.plan
        return _decision(admission, reply, [budget.terms for budget in plan.budgets], plan.tier, plan.revision)
    status = reply[0]
    if status == b"replay":
        revision, tier, kept_terms = decode_context(reply[2].decode())
        decision = _decision(admission, reply[1], kept_terms, tier, revision)
        decision.replayed = True
        admission.amount_nanos = int(reply[4])  # What prices made of it then, not now.
        if admission.operation is Operation.RESERVE:
            decision.hold_state = HoldState(reply[3].decode())
        return decision
    if status == b"stale":
        return StalePlan(reply[1])
    if status == b"late":
        return TooLate(reply[1])
    return _admission_error(admission, status, reply)


def _admission_error(admission: Admission, status: bytes, reply: list[Any]) -> LedgerError:
    if status == b"mismatch":
        return _mismatch(admission.sent, reply)
    if status == b"overflow":
        return CounterOverflow("a counter of this user would pass the cap of 8,000,000 USD")
    raise ValueError(f"the program answered {status!r}")


def _mismatch(sent: str, reply: list[Any]) -> RequestMismatch:
    field = first_difference(sent, reply[1].decode())
    return RequestMismatch(f"this request_id was already used with another {field}", field=field)


def _decision(
    admission: Admission, answer: bytes, terms: Sequence[BudgetTerms], tier: str | None, revision: int
) -> Decision:
    text = answer.decode()
    at, outcome, chosen, reason, retry_after, *numbers = text.split(" ")
    decided = OUTCOMES[outcome]
    is_reserve = admission.operation is Operation.RESERVE
    return Decision(
        admission.operation,
        admission.request_id,
        admission.user_id,
        tier,
        decided,
        REASONS[reason],
        _budgets(terms, numbers),
        int(chosen) - 1 if chosen != "0" else None,
        revision,
        int(at),
        admission.ttl_ms,
        retry_after_ms=None if retry_after == "-1" else int(retry_after),
        hold_state=HoldState.OPEN if is_reserve and decided is not Outcome.BLOCK else None,
        text=text,
    )


def _budgets(terms: Sequence[BudgetTerms], numbers: list[str]) -> tuple[Budget, ...]:
    if len(numbers) == NUMBERS_PER_LINE == NUMBERS_PER_LINE * len(terms):
        return (_budget(terms[0], *numbers),)
    lines = zip(*[iter(numbers)] * NUMBERS_PER_LINE, strict=True)
    return tuple([_budget(term, *line) for term, line in zip(terms, lines, strict=True)])


def _budget(
    terms: BudgetTerms, outcome: str, spend: str, held: str, kind: str, pct: str, first: str, seeded: str
) -> Budget:
    warning = None if kind == "-" else Warning(WARNINGS[kind], int(pct) or None, first == "1")
    return Budget(terms, OUTCOMES[outcome], int(spend), int(held), warning, seeded == "1")


def decode_resolution(resolution: Resolution, reply: list[Any]) -> Resolved:
    """Return what ``lua/resolve.lua`` answered to one operation."""
    status = reply[0]
    if status in {b"ok", b"replay"}:
        return _settlement(resolution, reply)
    if status == b"done":
        return None
    if status == b"conflict":
        code = reply[1].decode()
        return HoldConflict(CONFLICTS[code], code=code)
    if status == b"missing":
        return HoldNotFound("no hold is known under this user_id and request_id; to charge a settle send reserved_at")
    if status == b"too_old":
        return HoldTooOld("reserved_at is older than 48 hours; the amount is kept as unattributed", field="reserved_at")
    if status == b"stale":
        return StalePlan(reply[1])
    if status == b"mismatch":
        return _mismatch(resolution.sent, reply)
    if status == b"future":
        return InvalidInput("reserved_at lies in the future of the store's clock", field="reserved_at")
    raise ValueError(f"the program answered {status!r}")


def _settlement(resolution: Resolution, reply: list[Any]) -> Settlement:
    status, answer, context, deadline = reply
    revision, tier, terms = decode_context(context.decode())
    at, outcome, chosen, reason, state_before, charged, estimate, unpriced, *numbers = answer.decode().split(" ")
    is_extend = resolution.operation is Operation.EXTEND
    return Settlement(
        resolution.operation,
        resolution.request_id,
        resolution.user_id,
        tier,
        OUTCOMES[outcome],
        REASONS[reason],
        _budgets(terms, numbers),
        int(chosen) - 1 if chosen != "0" else None,
        revision,
        int(at),
        HoldState(state_before),
        int(charged),
        int(estimate),
        int(deadline) if is_extend else None,
        unpriced == "1",
        replayed=status == b"replay",
    )


def decode_adjustment(adjustment: Adjustment, reply: list[Any]) -> Adjusted | StalePlan:
    """Return what ``lua/adjust.lua`` answered; raises what it refused."""
    status = reply[0]
    if status in {b"ok", b"replay"}:
        return _adjusted(adjustment, reply[1].decode(), reply[2].decode(), replayed=status == b"replay")
    if status == b"stale":
        return StalePlan(reply[1])
    if status == b"mismatch":
        field = first_difference(adjustment.sent, reply[1].decode(), ADJUSTMENT_FIELDS)
        raise RequestMismatch(f"this request_id was already used with another {field}", field=field)
    if status == b"exceeds":
        code, tier, spend = (part.decode() for part in reply[1:])
        raise credit_exceeds_spend(parse_window_code(code), tier or None, int(spend))
    if status == b"overflow":
        raise CounterOverflow("a counter of this user would pass the cap of 8,000,000 USD")
    if status == b"future":
        raise moment_in_future()
    if status == b"too_old":
        raise moment_too_old()
    raise ValueError(f"the program answered {status!r}")


def _adjusted(adjustment: Adjustment, answer: str, windows: str, *, replayed: bool) -> Adjusted:
    stored_ms, *numbers = (int(text) for text in answer.split(" "))
    groups = zip(windows.split(","), *[iter(numbers)] * 3, strict=True)
    return Adjusted(
        request_id=adjustment.request_id,
        user_id=adjustment.user_id,
        tier=adjustment.plan.tier,
        amount_nanos=adjustment.amount_nanos,
        stored_ms=stored_ms,
        windows=tuple(AdjustedWindow(parse_window_code(code), *counter) for code, *counter in groups),
        replayed=replayed,
    )


def decode_usage(reply: list[bytes]) -> UserUsage:
    """Return what ``lua/usage.lua`` answered."""
    at_ms, open_holds, *numbers = [int(text) for text in reply]
    counters = tuple(
        CounterState(spend, held, calls, bool(seeded))
        for spend, held, calls, seeded in zip(*[iter(numbers)] * 4, strict=True)
    )
    return UserUsage(at_ms, counters, open_holds)
