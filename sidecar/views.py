"""What a user's usage and explanation show: values for the wire, made of plans, counters and rules."""

from dataclasses import dataclass

from ledger.decisions import BudgetTerms, CounterState, UserUsage
from ledger.plans import Plan, policy_without_store
from ledger.rules import Match, Policy, Rule, RuleSet, Workspace, match_rules, strictest
from ledger.windows import Window


@dataclass(frozen=True, slots=True)
class WindowUsage:
    """A user's counter in one window."""

    window: Window
    counter: CounterState


@dataclass(frozen=True, slots=True)
class BudgetUsage:
    """A user's counter beside the rule that limits it."""

    terms: BudgetTerms
    counter: CounterState


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageView:
    """A user now: the workspace's day, week and month, each matching budget, and how many holds are open."""

    user_id: str
    tier: str | None
    at_ms: int
    windows: tuple[WindowUsage, ...]
    budgets: tuple[BudgetUsage, ...]
    open_holds: int
    rules_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Which rules apply to a user now, which were skipped and why, and what follows for failures and prices."""

    user_id: str
    tier: str | None
    at_ms: int
    rules_revision: int
    workspace: Workspace
    match: Match
    on_store_failure: Policy
    on_unpriced: Policy

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that apply."""
        return self.match.rules


WORKSPACE_WINDOWS = 3
"""A plan counts the workspace's day, week and month first."""


def usage_view(user_id: str, tier: str | None, plan: Plan, usage: UserUsage) -> UsageView:
    """Join a plan and the counters that were read for it."""
    counted = list(zip(plan.counters, usage.counters, strict=True))
    return UsageView(
        user_id=user_id,
        tier=tier,
        at_ms=usage.at_ms,
        windows=tuple(WindowUsage(entry.window, counter) for entry, counter in counted[:WORKSPACE_WINDOWS]),
        budgets=tuple(BudgetUsage(budget.terms, usage.counters[budget.counter]) for budget in plan.budgets),
        open_holds=usage.open_holds,
        rules_revision=plan.revision,
    )


def explanation(rule_set: RuleSet, user_id: str, tier: str | None, now_ms: int) -> Explanation:
    """Tell what `rule_set` means for a user at a moment of the store's clock."""
    match = match_rules(rule_set, user_id, tier, now_ms)
    return Explanation(
        user_id=user_id,
        tier=tier,
        at_ms=now_ms,
        rules_revision=rule_set.revision,
        workspace=rule_set.workspace,
        match=match,
        on_store_failure=policy_without_store(match.rules, rule_set.workspace),
        on_unpriced=strictest([rule.on_unpriced for rule in match.rules], smallest_amount=False),
    )
