"""What users and tiers have spent, as the operator sees it: budgets now, days, tiers, the spend beside each rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger.decisions import CounterState
from ledger.event_filter import EventFilter
from ledger.event_log import EventLog
from ledger.plans import CountedWindow, Plan, compile_plan, policy_without_store
from ledger.rules import ANY_TIER, Match, Policy, Rule, RuleKind, RuleSet, Workspace, match_rules, strictest
from ledger.spend_reader import NEVER_COUNTED, DaySpend, OpenHolds, SpendReader, TierTotal
from ledger.windows import Calendar, Window, WindowType, previous_window, window_at

WORKSPACE_WINDOWS: Final = 3
"""A plan counts the workspace's day, week and month first."""

MAX_SCANNED_FOR_TIER: Final = 2000


@dataclass(frozen=True, slots=True)
class WindowNow:
    """A user's counter in one window."""

    window: Window
    counter: CounterState


@dataclass(frozen=True, slots=True)
class BudgetNow:
    """A rule that applies to a user, and the counter it looks at."""

    rule: Rule
    window: Window
    counter: CounterState


@dataclass(frozen=True, slots=True, kw_only=True)
class UserNow:
    """A user at `at_ms`: windows of the workspace, budgets, which rules apply or were skipped, and open holds.

    `tier_source` tells where the tier comes from: the question, an open hold, the newest event, or None for no tier.
    """

    user_id: str
    tier: str | None
    tier_source: str | None
    at_ms: int
    rules_revision: int
    workspace: Workspace
    windows: tuple[WindowNow, ...]
    budgets: tuple[BudgetNow, ...]
    match: Match
    on_store_failure: Policy
    on_unpriced: Policy
    holds: OpenHolds


@dataclass(frozen=True, slots=True)
class RuleSpend:
    """What stands beside a rule: the window now, and the user's counter or the total over the tier's users.

    A tier's total has no holds, and its spend may pass the cap.
    """

    window: Window
    counter: CounterState


@dataclass(frozen=True, slots=True, kw_only=True)
class TierNow:
    """A tier, its templates (none if it was only seen), and its totals in the workspace's day, week and month."""

    tier: str
    templates: tuple[Rule, ...]
    totals: tuple[tuple[Window, TierTotal], ...]
    last_window_end_ms: int | None

    @property
    def has_template(self) -> bool:
        """Say whether a template names this tier."""
        return bool(self.templates)


@dataclass(frozen=True, slots=True)
class TierList:
    """Some tiers in the order of their names, how many there are in all, and whether really all were found."""

    tiers: tuple[TierNow, ...]
    total: int
    complete: bool


class UsageReader:
    """Joins rules and what was counted. Raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, spend: SpendReader, log: EventLog) -> None:
        self._spend = spend
        self._log = log

    async def user(self, rule_set: RuleSet, user_id: str, tier: str | None) -> UserNow:
        """Return a user now; without a tier the one of their latest hold or event is taken."""
        at_ms = await self._spend.store_time_ms()
        holds = await self._spend.open_holds(user_id)
        tier, source = (tier, "query") if tier is not None else await self._last_tier(user_id, holds)
        plan = compile_plan(rule_set, user_id, tier, at_ms)
        (counters,) = await self._spend.planned_counters([(user_id, plan.counters)])
        match = match_rules(rule_set, user_id, tier, at_ms)
        windows = [WindowNow(entry.window, state) for entry, state in zip(plan.counters, counters, strict=True)]
        return UserNow(
            user_id=user_id,
            tier=tier,
            tier_source=source,
            at_ms=at_ms,
            rules_revision=rule_set.revision,
            workspace=rule_set.workspace,
            windows=tuple(windows[:WORKSPACE_WINDOWS]),
            budgets=tuple(_budget(rule, plan, counters, at_ms) for rule in match.rules),
            match=match,
            on_store_failure=policy_without_store(match.rules, rule_set.workspace),
            on_unpriced=strictest([rule.on_unpriced for rule in match.rules], smallest_amount=False),
            holds=holds,
        )

    async def _last_tier(self, user_id: str, holds: OpenHolds) -> tuple[str | None, str | None]:
        """Guess a user's tier, which only calls tell: that of an open hold, else of the newest event that has one."""
        for hold in reversed(holds.holds):
            if hold.tier:
                return hold.tier, "hold"
        page = await self._log.page(
            EventFilter(user_id=user_id, has_tier=True), limit=1, max_scanned=MAX_SCANNED_FOR_TIER
        )
        return (page.events[0].tier, "event") if page.events else (None, None)

    async def days(self, rule_set: RuleSet, user_id: str, days: int) -> list[DaySpend]:
        """Return a user's spend by day of the workspace, the oldest first, today last."""
        now_ms = await self._spend.store_time_ms()
        return await self._spend.days(user_id, rule_set.workspace.calendar, now_ms=now_ms, days=days)

    async def beside_rules(self, workspace: Workspace, rules: Sequence[Rule], now_ms: int) -> list[RuleSpend]:
        """Return what stands beside each rule: an override's user, seeded in a zone that is new, or a tier's total."""
        windows = [window_at(rule.window, rule.calendar, now_ms / 1000) for rule in rules]
        pairs = list(zip(rules, windows, strict=True))
        users = [(rule.key, _counted(workspace.calendar, rule, now_ms)) for rule in rules if _is_override(rule)]
        tiers = [(rule.key, window) for rule, window in pairs if not _is_override(rule)]
        counters = iter(await self._spend.planned_counters(users))
        totals = iter(await self._spend.tier_totals(tiers))
        return [
            RuleSpend(window, next(counters)[-1] if _is_override(rule) else _as_counter(next(totals)))
            for rule, window in pairs
        ]

    async def tier_totals(self, calendar: Calendar, tier: str) -> tuple[int, tuple[tuple[Window, TierTotal], ...]]:
        """Return the store's time and a tier's totals in the day, week and month of a calendar."""
        now_ms = await self._spend.store_time_ms()
        windows = [window_at(kind, calendar, now_ms / 1000) for kind in WindowType]
        totals = await self._spend.tier_totals([(tier, window) for window in windows])
        return now_ms, tuple(zip(windows, totals, strict=True))

    async def tiers(
        self, rule_set: RuleSet, *, has_template: bool | None = None, text: str = "", after: str = "", limit: int = 50
    ) -> TierList:
        """List tiers that have a template or were seen in a current window, by name, those behind `after`.

        `has_template` and `text` (part of the name, in any case) choose; `*` is never among those without template.
        """
        now_ms = await self._spend.store_time_ms()
        seen = await self._spend.tiers_seen(since_ms=now_ms)
        ends = {entry.tier: entry.window_end_ms for entry in seen.tiers}
        names = [name for name in sorted(rule_set.templates.keys() | ends.keys()) if text.casefold() in name.casefold()]
        if has_template is not None:
            names = [name for name in names if (name in rule_set.templates) is has_template]
        if has_template is False:
            names = [name for name in names if name != ANY_TIER]
        chosen = [name for name in names if name > after][:limit]
        windows = [window_at(kind, rule_set.workspace.calendar, now_ms / 1000) for kind in WindowType]
        totals = iter(await self._spend.tier_totals([(name, window) for name in chosen for window in windows]))
        tiers = tuple(
            TierNow(
                tier=name,
                templates=rule_set.templates.get(name, ()),
                totals=tuple((window, next(totals)) for window in windows),
                last_window_end_ms=ends.get(name),
            )
            for name in chosen
        )
        return TierList(tiers, total=len(names), complete=seen.complete)


def _budget(rule: Rule, plan: Plan, counters: Sequence[CounterState], at_ms: int) -> BudgetNow:
    window = window_at(rule.window, rule.calendar, at_ms / 1000)
    index = next(index for index, entry in enumerate(plan.counters) if entry.window == window)
    return BudgetNow(rule, window, counters[index])


def _is_override(rule: Rule) -> bool:
    return rule.kind is RuleKind.USER_OVERRIDE


def _counted(calendar: Calendar, rule: Rule, now_ms: int) -> list[CountedWindow]:
    """Return the counter that a rule looks at, behind the workspace's from which it would start if it were new."""
    own = window_at(rule.window, rule.calendar, now_ms / 1000)
    workspaces = window_at(rule.window, calendar, now_ms / 1000)
    if own == workspaces:
        return [CountedWindow(own, calendar)]
    seeded = CountedWindow(own, rule.calendar, 0, previous_window(own, rule.calendar))
    return [CountedWindow(workspaces, calendar), seeded]


def _as_counter(total: TierTotal) -> CounterState:
    if not total.calls and not total.spend_nanos:
        return NEVER_COUNTED
    return CounterState(total.spend_nanos, 0, total.calls, seeded=False)
