"""Single operations of a scenario, and what the sidecar or the control plane would send for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ledger.adjustments import Adjustment, adjustment_sent
from ledger.decisions import Operation, Reason
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import compile_plan, plan_without_user
from ledger.restores import Restore, RestoreKind
from ledger.rules import RuleSet
from tests.support.ledger_under_test import FAR_MS, HOUR_MS, nanos

MODELS = ("m-large", "m-small")


@dataclass(frozen=True, slots=True)
class Call:
    """A check or a reserve. `plan_shift_h` plans at another time than now; `late` sends it past its deadline.

    `tokens` None stands for an amount, else it is a usage of `model`, priced or not.
    """

    operation: Operation
    user: str
    request: int
    usd: int
    tier: str | None
    ttl_s: int = 60
    unpriced: bool = False
    refused: bool = False
    late: bool = False
    plan_shift_h: int = 0
    group: str = ""
    model: str = MODELS[0]
    tokens: int | None = None
    attempt: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """A settle (None: without a price), release, extend, expire or record. `reserved_ago_ms` is the call's age or None.

    A settle is by usage of `model` if it has `tokens` or no price. A record may be nobody's, or
    planned at another time.
    """

    operation: Operation
    user: str
    request: int
    usd: int | None
    tier: str | None
    ttl_s: int = 60
    reserved_ago_ms: int | None = None
    group: str = ""
    model: str = MODELS[0]
    tokens: int | None = None
    is_nobodys: bool = False
    plan_shift_h: int = 0


@dataclass(frozen=True, slots=True)
class Correct:
    """An operator's adjustment, of now if `ago_ms` is None. `plan_shift_h` plans at another time.

    `done_ago_ms` is of one that is done again because the store has lost it.
    """

    user: str
    request: int
    usd: int
    tier: str | None
    ago_ms: int | None = None
    plan_shift_h: int = 0
    done_ago_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """What a journal tells of an operation that was done `ago_ms` before, without the store."""

    kind: RestoreKind
    user: str
    request: int
    usd: int
    tier: str | None
    ago_ms: int
    ttl_s: int = 60
    attempt: str = ""
    landing_ms: int = 0
    unpriced: bool = False
    with_plan: bool = False


def admissions_of(calls: Sequence[Call], rule_set: RuleSet, now_ms: int) -> list[Admission]:
    """Return what the sidecar would send for these calls."""
    return [_admission(call, rule_set, now_ms) for call in calls]


def _admission(call: Call, rule_set: RuleSet, now_ms: int) -> Admission:
    plan = compile_plan(rule_set, call.user, call.tier, now_ms + call.plan_shift_h * HOUR_MS)
    ttl_ms = call.ttl_s * 1000 if call.operation is Operation.RESERVE else 0
    amount = 0 if call.unpriced else nanos(call.usd)
    return Admission(
        operation=call.operation,
        plan=plan,
        request_id=f"r{call.request}",
        user_id=call.user,
        amount_nanos=amount,
        sent=sent_text(call.operation, call.tier, "usage" if call.unpriced else str(amount), ttl_ms),
        not_after_ms=now_ms - 1 if call.late else FAR_MS,
        ttl_ms=ttl_ms,
        group=call.group,
        **_usage_of(call.model, call.tokens, unpriced=call.unpriced),
        refusal=Reason.UNPRICED if call.refused else None,
        refusal_budget=len(plan.budgets) - 1 if call.refused and plan.budgets else None,
        unpriced=call.unpriced,
        attempt=call.attempt,
    )


def resolutions_of(ends: Sequence[End], rule_set: RuleSet, now_ms: int) -> list[Resolution]:
    """Return what the sidecar would send for these ends of holds."""
    return [_resolution(end, rule_set, now_ms) for end in ends]


def _resolution(end: End, rule_set: RuleSet, now_ms: int) -> Resolution:
    if end.operation is Operation.EXPIRE:
        return Resolution(operation=end.operation, user_id=end.user)
    if end.operation is Operation.RECORD:
        return _record(end, rule_set, now_ms)
    if end.operation is not Operation.SETTLE:
        return Resolution(
            operation=end.operation, user_id=end.user, request_id=f"r{end.request}", ttl_ms=end.ttl_s * 1000
        )
    amount = None if end.usd is None else nanos(end.usd)
    reserved_at_ms = None if end.reserved_ago_ms is None else now_ms - end.reserved_ago_ms
    plan = None if reserved_at_ms is None else compile_plan(rule_set, end.user, end.tier, reserved_at_ms)
    return Resolution(
        operation=end.operation,
        user_id=end.user,
        request_id=f"r{end.request}",
        amount_nanos=amount,
        sent=sent_text(end.operation, None, "usage" if amount is None else str(amount), 0),
        reserved_at_ms=reserved_at_ms,
        plan=plan,
        group=end.group,
        **_usage_of(end.model, end.tokens, unpriced=amount is None),
    )


def _record(end: End, rule_set: RuleSet, now_ms: int) -> Resolution:
    amount = None if end.usd is None else nanos(end.usd)
    made_ms = None if end.reserved_ago_ms is None else now_ms - end.reserved_ago_ms
    planned_ms = now_ms + end.plan_shift_h * HOUR_MS if made_ms is None else made_ms
    user = "" if end.is_nobodys else end.user
    plan = (
        plan_without_user(rule_set, end.tier, planned_ms)
        if end.is_nobodys
        else compile_plan(rule_set, user, end.tier, planned_ms)
    )
    return Resolution(
        operation=end.operation,
        user_id=user,
        request_id=f"r{end.request}",
        amount_nanos=amount,
        sent=sent_text(end.operation, end.tier, "usage" if amount is None else str(amount), 0),
        reserved_at_ms=made_ms,
        plan=plan,
        group=end.group,
        **_usage_of(end.model, end.tokens, unpriced=amount is None),
    )


def _usage_of(model: str, tokens: int | None, *, unpriced: bool) -> dict[str, Any]:
    """Return the fields of an operation that come from a usage; none for an amount."""
    if tokens is None and not unpriced:
        return {}
    count = tokens or 0
    version = "" if unpriced else "book 1"
    return {"model": model, "price_version": version, "input_tokens": count, "output_tokens": 2 * count}


def restores_of(agains: Sequence[Again], rule_set: RuleSet, now_ms: int) -> list[Restore]:
    """Return what a sidecar would send of its journal."""
    return [_restore(again, rule_set, now_ms - again.ago_ms) for again in agains]


def _restore(again: Again, rule_set: RuleSet, at_ms: int) -> Restore:
    is_end = again.kind in {RestoreKind.SETTLE, RestoreKind.RELEASE, RestoreKind.EXTEND}
    amount = None if is_end and again.unpriced else nanos(again.usd)
    ttl_ms = again.ttl_s * 1000 if again.kind in {RestoreKind.RESERVE, RestoreKind.EXTEND} else 0
    operation = Operation(again.kind) if again.kind in set(Operation) else Operation.CHECK
    amount_sent = "usage" if again.unpriced else str(amount)
    return Restore(
        kind=again.kind,
        user_id=again.user,
        request_id=f"r{again.request}",
        at_ms=at_ms,
        plan=None if is_end and not again.with_plan else compile_plan(rule_set, again.user, again.tier, at_ms),
        amount_nanos=amount,
        sent=sent_text(operation, None if is_end else again.tier, amount_sent, 0 if is_end else ttl_ms),
        ttl_ms=ttl_ms,
        reserved_at_ms=at_ms if is_end and again.with_plan else None,
        unpriced=again.unpriced,
        attempt=again.attempt,
        not_after_ms=at_ms + again.landing_ms,
        reason=Reason.STORE_UNAVAILABLE,
    )


def adjustment_of(step: Correct, rule_set: RuleSet, now_ms: int) -> Adjustment:
    """Return what the control plane would send for a correction."""
    at_ms = None if step.ago_ms is None else now_ms - step.ago_ms
    planned_ms = (now_ms if at_ms is None else at_ms) + step.plan_shift_h * HOUR_MS
    return Adjustment(
        user_id=step.user,
        request_id=f"r{step.request}",
        amount_nanos=nanos(step.usd),
        plan=compile_plan(rule_set, step.user, step.tier, planned_ms),
        sent=adjustment_sent(step.tier, nanos(step.usd), at_ms),
        at_ms=at_ms,
        done_ms=None if step.done_ago_ms is None else now_ms - step.done_ago_ms,
        meta='{"note":"a note"}',
    )
