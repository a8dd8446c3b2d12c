"""Random scenarios: what three users do to a ledger while rules change and time passes, and how it is played."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from ledger.adjustments import Adjustment, adjustment_sent
from ledger.decisions import EVENT_RETENTION_MS, FUTURE_TOLERANCE_MS, RETENTION_MS, Operation, Reason
from ledger.money import CAP_USD
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import compile_plan, plan_without_user
from ledger.restores import Restore, RestoreKind
from ledger.rules import Action, Mode, OnExpiry, RuleSet
from ledger.windows import Calendar, WeekStart, WindowType
from tests.support.ledger_under_test import (
    FAR_MS,
    HOUR_MS,
    NOON_MS,
    LedgerUnderTest,
    charging,
    nanos,
    rule,
    rules,
    template,
)

USERS = ("ann", "bob", "cyd")
TIERS = ("free", "pro", None)
GROUPS = ("search", "chat", "")
MODELS = ("m-large", "m-small")
REQUESTS = 5
END_MS = NOON_MS + 44 * HOUR_MS
"""No record is forgotten within a scenario, so that servers with a clock of their own can play it too."""

BERLIN, TOKYO, SUNDAYS = Calendar("Europe/Berlin"), Calendar("Asia/Tokyo"), Calendar("UTC", WeekStart.SUNDAY)
DAY, WEEK, MONTH = WindowType.DAY, WindowType.WEEK, WindowType.MONTH

RULE_SETS: tuple[RuleSet, ...] = (
    rules(
        template("free", 10, thresholds_pct=(50, 80)),
        template("pro", 6, window=DAY, action=Action.WARN, thresholds_pct=(50, 100)),
        template("pro", 9, window=WEEK, action=Action.DRY_RUN, calendar=SUNDAYS),
        rule("ann", 12, calendar=BERLIN),
        rule("ann", 7, window=DAY),
        revision=1,
    ),
    rules(
        template("free", 5, window=DAY, calendar=TOKYO, on_unpriced=charging(3)),
        template("free", 14, thresholds_pct=(10, 20, 30)),
        template("*", 8, action=Action.WARN),
        template("pro", None),
        rule("bob", 0, window=WEEK, action=Action.WARN),
        rule("bob", 11, thresholds_pct=()),
        revision=2,
        on_expiry=OnExpiry.RELEASE,
    ),
    rules(
        template("free", 4, window=DAY),
        template("pro", 10, calendar=BERLIN),
        rule("cyd", 6, window=WEEK, calendar=SUNDAYS),
        revision=3,
        mode=Mode.OBSERVE,
    ),
    rules(template("free", 4), revision=4, mode=Mode.STOP),
)


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


@dataclass(frozen=True, slots=True)
class UseRules:
    """The rule set of this index is in force from here on."""

    index: int


@dataclass(frozen=True, slots=True)
class PassTime:
    """The clock goes on."""

    by_ms: int


Step = tuple[Call, ...] | tuple[End, ...] | tuple[Again, ...] | Correct | UseRules | PassTime

_groups, _models, _tokens = st.sampled_from(GROUPS), st.sampled_from(MODELS), st.sampled_from((None, None, 0, 7))
_users, _tiers, _requests = st.sampled_from(USERS), st.sampled_from(TIERS), st.integers(0, REQUESTS - 1)
_dollars = st.integers(0, 6)
_ttls = st.sampled_from((1, 60, 3600))
_attempts = st.sampled_from(("", "one", "two", "three"))
_rarely = st.sampled_from((True, *[False] * 15))

_calls = st.builds(
    Call,
    operation=st.sampled_from((Operation.CHECK, Operation.RESERVE, Operation.RESERVE)),
    user=_users,
    request=_requests,
    usd=_dollars,
    tier=_tiers,
    ttl_s=_ttls,
    unpriced=_rarely,
    refused=_rarely,
    late=_rarely,
    plan_shift_h=st.sampled_from((*[0] * 20, -24, 24)),
    group=_groups,
    model=_models,
    tokens=_tokens,
    attempt=_attempts,
)
_ends = st.builds(
    End,
    operation=st.sampled_from(
        (
            *[Operation.SETTLE] * 4,
            *[Operation.RELEASE] * 2,
            *[Operation.RECORD] * 2,
            *(Operation.EXTEND, Operation.EXPIRE),
        )
    ),
    user=_users,
    request=st.integers(0, REQUESTS + 1),
    usd=st.sampled_from((0, 1, 2, 3, 4, 5, 6, 8, None)),
    tier=_tiers,
    ttl_s=_ttls,
    reserved_ago_ms=st.sampled_from(
        (*[None] * 9, 0, 3 * HOUR_MS, 30 * HOUR_MS, RETENTION_MS + 1, -1, -FUTURE_TOLERANCE_MS - 1)
    ),
    group=_groups,
    model=_models,
    tokens=_tokens,
    is_nobodys=st.booleans(),
    plan_shift_h=st.sampled_from((*[0] * 20, -24, 24)),
)
_corrections = st.builds(
    Correct,
    user=_users,
    request=st.integers(0, REQUESTS + 3),
    usd=st.sampled_from((-5, -2, -1, -1, 1, 3, 5, CAP_USD + 1)),
    tier=_tiers,
    ago_ms=st.sampled_from((None, None, None, 0, 3 * HOUR_MS, 30 * HOUR_MS, EVENT_RETENTION_MS + 1, -1)),
    plan_shift_h=st.sampled_from((*[0] * 20, -24, 24)),
)
_agains = st.builds(
    Again,
    kind=st.sampled_from((*RestoreKind, RestoreKind.VOID, RestoreKind.VOID)),
    user=_users,
    request=_requests,
    usd=_dollars,
    tier=_tiers,
    ago_ms=st.sampled_from((0, 1000, 61_000, 3 * HOUR_MS, 30 * HOUR_MS, RETENTION_MS, RETENTION_MS + 1, -1000)),
    ttl_s=_ttls,
    attempt=_attempts,
    landing_ms=st.sampled_from((0, 0, 0, 5 * HOUR_MS)),
    unpriced=_rarely,
    with_plan=st.booleans(),
)
_pauses = st.sampled_from((1, 1000, 61_000, HOUR_MS, 5 * HOUR_MS, 13 * HOUR_MS)).map(PassTime)
_steps = st.one_of(
    st.lists(_calls, min_size=1, max_size=4).map(tuple),
    st.lists(_calls, min_size=1, max_size=1).map(tuple),
    st.lists(_ends, min_size=1, max_size=3).map(tuple),
    st.lists(_ends, min_size=1, max_size=1).map(tuple),
    _corrections,
    st.sampled_from((0, 0, 1, 1, 1, 2, 2, 3)).map(UseRules),
    _pauses,
)


_corrected_again = st.builds(
    Correct,
    user=_users,
    request=st.integers(0, REQUESTS + 3),
    usd=st.sampled_from((-5, -2, -1, 1, 3)),
    tier=_tiers,
    ago_ms=st.sampled_from((0, 3 * HOUR_MS, 30 * HOUR_MS)),
    done_ago_ms=st.sampled_from((0, 1000, 3 * HOUR_MS)),
)
_lost = st.one_of(st.lists(_agains, min_size=1, max_size=3).map(tuple), _corrected_again)
_journaled = st.one_of(_steps, _steps, _steps, _steps, _lost)


def scenarios(*, with_journals: bool = False) -> st.SearchStrategy[list[Step]]:
    """Return lists of steps, most of them long; the short ones are for reading. The first rule set is in force."""
    steps = _journaled if with_journals else _steps
    long = st.lists(steps, min_size=20, max_size=50)
    return st.one_of(st.lists(steps, min_size=1, max_size=8), long, long)


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


@dataclass(slots=True)
class Stage:
    """Where a scenario is: the rules in force and the time."""

    rule_set: RuleSet = RULE_SETS[0]
    now_ms: int = NOON_MS

    async def change(self, step: UseRules | PassTime, *ledgers: LedgerUnderTest) -> None:
        """Do a step that asks nothing of the ledgers."""
        if isinstance(step, UseRules):
            self.rule_set = RULE_SETS[step.index]
            return
        self.now_ms = min(END_MS, self.now_ms + step.by_ms)
        for under_test in ledgers:
            await under_test.set_time(self.now_ms)
