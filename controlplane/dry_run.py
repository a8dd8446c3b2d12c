"""The dry-run report: what would have been blocked in the current window, before anyone switches to Block."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ledger.rules import Action, Mode, Rule, RuleKind, RuleSet
from ledger.spend_reader import SpendReader
from ledger.windows import Window, window_at

MAX_RULES: Final = 5000
"""Whose tallies are read for one report; a workspace with more dry-run rules sees those that come first by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunLine:
    """One rule in its current window: calls, users and nano-USD that it would have blocked."""

    rule: Rule
    window: Window
    calls: int
    amount_nanos: int
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunReport:
    """Lines, the largest amount first. The sums are over all lines; users are not summed, for one may meet two rules.

    `complete` is False when there are more dry-run rules than one report reads.
    """

    at_ms: int
    rules_revision: int
    lines: tuple[DryRunLine, ...]
    calls: int
    amount_nanos: int
    complete: bool


async def dry_run_report(spend: SpendReader, rule_set: RuleSet) -> DryRunReport:
    """Return the report on every rule that acts as dry run now; raises `StoreUnavailable`."""
    now_ms = await spend.store_time_ms()
    rules = sorted(_acting_dry(rule_set, now_ms), key=_order)
    windows = [window_at(rule.window, rule.calendar, now_ms / 1000) for rule in rules[:MAX_RULES]]
    pairs = list(zip(rules, windows, strict=False))
    users = [rule.key if rule.kind is RuleKind.USER_OVERRIDE else None for rule, _ in pairs]
    tallies = await spend.tallies([(rule.id, window) for rule, window in pairs], user_ids=users)
    lines = [
        DryRunLine(
            rule=rule,
            window=window,
            calls=tally.get("dry_run", 0),
            amount_nanos=tally.get("dry_run_nanos", 0),
            users=tally.get("dry_run_users", 0),
        )
        for (rule, window), tally in zip(pairs, tallies, strict=True)
    ]
    lines.sort(key=_weight)
    return DryRunReport(
        at_ms=now_ms,
        rules_revision=rule_set.revision,
        lines=tuple(lines),
        calls=sum(line.calls for line in lines),
        amount_nanos=sum(line.amount_nanos for line in lines),
        complete=len(rules) <= MAX_RULES,
    )


def _acting_dry(rule_set: RuleSet, now_ms: int) -> Iterator[Rule]:
    """Yield the active rules that act as dry run: in `observe` those that would block as well."""
    actions = {Action.DRY_RUN, Action.BLOCK} if rule_set.workspace.mode is Mode.OBSERVE else {Action.DRY_RUN}
    return (rule for rule in rule_set.rules if rule.action in actions and rule.is_active(now_ms))


def _order(rule: Rule) -> tuple[str, str, str]:
    return rule.kind, rule.key, rule.window


def _weight(line: DryRunLine) -> tuple[int, int, str, str]:
    return -line.amount_nanos, -line.calls, line.rule.key, line.rule.id
