"""Random scenarios: what three users do to a ledger while rules change and time passes, and how it is played."""

from dataclasses import dataclass

from hypothesis import strategies as st

from ledger.decisions import EVENT_RETENTION_MS, FUTURE_TOLERANCE_MS, RETENTION_MS, Operation
from ledger.money import CAP_USD
from ledger.restores import RestoreKind
from ledger.rules import Action, Mode, OnExpiry, RuleSet
from ledger.windows import Calendar, WeekStart, WindowType
from tests.property.operations import MODELS, Again, Call, Correct, End
from tests.support.ledger_under_test import HOUR_MS, NOON_MS, LedgerUnderTest, charging, rule, rules, template

USERS = ("ann", "bob", "cyd")
TIERS = ("free", "pro", None)
GROUPS = ("search", "chat", "")
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
