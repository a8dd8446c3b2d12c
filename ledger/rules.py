"""Rules and rule sets: immutable values, and whom they apply to. `ledger.rule_parsing` makes them from YAML or JSON."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import chain
from json.encoder import encode_basestring_ascii
from types import MappingProxyType
from typing import Any, Final, cast

from ledger.prices import NO_PRICES, PriceBook
from ledger.usage import Estimate
from ledger.windows import Calendar, WindowType

ANY_TIER = "*"
DEFAULT_THRESHOLDS_PCT = (80,)
WINDOW_ORDER: Final = {window: number for number, window in enumerate(WindowType)}


class RuleKind(StrEnum):
    """Whom a rule is for: each user of a tier, or one user."""

    TIER_TEMPLATE = "tier_template"
    USER_OVERRIDE = "user_override"


class Action(StrEnum):
    """What happens over the limit."""

    WARN = "warn"
    BLOCK = "block"
    DRY_RUN = "dry_run"


class RuleStatus(StrEnum):
    """Disabled rules are skipped."""

    ACTIVE = "active"
    DISABLED = "disabled"


class PlanName(StrEnum):
    """The workspace's plan; only `growth` enforces."""

    FREE = "free"
    STARTER = "starter"
    GROWTH = "growth"


class OnExpiry(StrEnum):
    """What a hold that nobody settled becomes."""

    CHARGE = "charge"
    RELEASE = "release"


class Mode(StrEnum):
    """The workspace's switch: enforce, every block as a dry run, or everything blocked."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    STOP = "stop"


class PolicyKind(StrEnum):
    """`amount` is a local allowance (on_store_failure) or a flat charge (on_unpriced)."""

    DENY = "deny"
    ALLOW = "allow"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do when the store does not answer or a usage has no price; `amount_nanos` only for `AMOUNT`."""

    kind: PolicyKind
    amount_nanos: int = 0


DENY = Policy(PolicyKind.DENY)
ALLOW = Policy(PolicyKind.ALLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One limit. `limit_nanos` is None for unlimited; `expires_at_ms` is Unix milliseconds or None.

    With `wait_for_replica` a call is admitted only once a replica of the store has it too.
    """

    id: str
    kind: RuleKind
    key: str
    limit_nanos: int | None
    window: WindowType
    action: Action
    thresholds_pct: tuple[int, ...]
    status: RuleStatus
    calendar: Calendar
    on_store_failure: Policy
    on_unpriced: Policy
    wait_for_replica: bool = False
    expires_at_ms: int | None = None
    note: str = ""

    def is_active(self, now_ms: float) -> bool:
        """Say whether the rule is in force at a moment of the store's clock."""
        return self.status is RuleStatus.ACTIVE and (self.expires_at_ms is None or now_ms < self.expires_at_ms)


SHARED_FIELDS: Final = tuple(each.name for each in fields(Rule) if each.name not in {"id", "key", "limit_nanos"})
"""What thousands of rules may have in common."""


class _RuleInTheMaking:
    """A rule while its values are set: without the guards of a frozen class that takes a fifth of the time."""

    __slots__ = Rule.__slots__

    def __init__(self, id: str, key: str, limit_nanos: int | None, shared: tuple[object, ...]) -> None:  # noqa: A002
        self.id = id
        self.key = key
        self.limit_nanos = limit_nanos
        self.kind, self.window, self.action, self.thresholds_pct, self.status, self.calendar, *rest = shared
        self.on_store_failure, self.on_unpriced, self.wait_for_replica, self.expires_at_ms, self.note = rest


def rule_with(id: str, key: str, limit_nanos: int | None, shared: tuple[object, ...]) -> Rule:  # noqa: A002
    """Return a rule by its own values and those of `SHARED_FIELDS`."""
    rule: Any = _RuleInTheMaking(id, key, limit_nanos, shared)
    rule.__class__ = Rule  # Both have the same slots.
    return cast("Rule", rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Settings that hold for every rule of a rule set."""

    calendar: Calendar = Calendar("UTC")
    plan: PlanName = PlanName.GROWTH
    on_expiry: OnExpiry = OnExpiry.CHARGE
    mode: Mode = Mode.ENFORCE
    estimate: Estimate = Estimate.MAX_TOKENS


RuleIndex = MappingProxyType[str, tuple[Rule, ...]]
"""Rules by key. Read-only, and copied by its own `copy` at a hundredth of what going over its items takes."""


class RuleUnknown(ValueError):
    """A change names a rule that is not in the rule set: it was made for another one."""


@dataclass(frozen=True, slots=True)
class RulePlace:
    """Where a rule stands in a rule set."""

    kind: RuleKind
    key: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """All rules and settings under one growing revision. Build it with `RuleSet.of`, which indexes by key.

    Two are equal when they decide alike: in which order keys stand does not count.
    """

    revision: int
    workspace: Workspace
    prices: PriceBook = NO_PRICES
    count: int
    templates: RuleIndex = field(repr=False)
    overrides: RuleIndex = field(repr=False)

    @classmethod
    def of(
        cls, *, revision: int, workspace: Workspace, rules: Iterable[Rule], prices: PriceBook = NO_PRICES
    ) -> "RuleSet":
        """Index `rules` by tier and by user."""
        rules = tuple(rules)
        templates, overrides = _index(rules)
        return cls(
            revision=revision,
            workspace=workspace,
            prices=prices,
            count=len(rules),
            templates=MappingProxyType(templates),
            overrides=MappingProxyType(overrides),
        )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules: the templates, then the overrides. Made anew each time."""
        return tuple(chain.from_iterable(chain(self.templates.values(), self.overrides.values())))

    def changed(
        self,
        *,
        revision: int,
        removed: Iterable[RulePlace],
        added: Iterable[Rule],
        workspace: Workspace,
        prices: PriceBook,
    ) -> "RuleSet":
        """Return the rule set after a change, at the price of copying the index; rules that stay are shared.

        A changed rule is removed and added. Rules of one key stand in the order of their windows. Raises
        `RuleUnknown` for a removed rule that is not there.
        """
        index = {RuleKind.TIER_TEMPLATE: self.templates, RuleKind.USER_OVERRIDE: self.overrides}
        copies: dict[RuleKind, dict[str, tuple[Rule, ...]]] = {}
        gone, come = list(removed), list(added)
        for kind in {place.kind for place in gone} | {rule.kind for rule in come}:
            copies[kind] = index[kind].copy()
        for place in gone:
            _remove(copies[place.kind], place)
        for rule in come:
            rules = (*copies[rule.kind].get(rule.key, ()), rule)
            copies[rule.kind][rule.key] = tuple(sorted(rules, key=_window_order))
        for kind, by_key in copies.items():
            index[kind] = MappingProxyType(by_key)
        return RuleSet(
            revision=revision,
            workspace=workspace,
            prices=prices,
            count=self.count - len(gone) + len(come),
            templates=index[RuleKind.TIER_TEMPLATE],
            overrides=index[RuleKind.USER_OVERRIDE],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A rule that names the user or tier but does not apply, and why."""

    rule: Rule
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The rules that apply to one user now, those that were skipped, and whether the `*` row counts this user."""

    rules: tuple[Rule, ...]
    skipped: tuple[Skipped, ...]
    counts_as_any_tier: bool


def match_rules(rule_set: RuleSet, user_id: str, tier: str | None, now_ms: float) -> Match:
    """Return what applies to a user: active overrides first, else the tier's active templates, else those of `*`."""
    skipped: list[Skipped] = []
    overrides = _active(rule_set.overrides.get(user_id, ()), now_ms, skipped)
    named = _active(rule_set.templates.get(tier, ()) if tier is not None else (), now_ms, skipped)
    fallback = _active(rule_set.templates.get(ANY_TIER, ()), now_ms, skipped)
    if overrides:
        skipped += [Skipped(rule=rule, why="overridden") for rule in named + fallback]
        return Match(rules=overrides, skipped=tuple(skipped), counts_as_any_tier=False)
    if named:
        skipped += [Skipped(rule=rule, why="tier_has_template") for rule in fallback]
        return Match(rules=named, skipped=tuple(skipped), counts_as_any_tier=False)
    return Match(rules=fallback, skipped=tuple(skipped), counts_as_any_tier=True)


def strictest(policies: list[Policy], *, smallest_amount: bool) -> Policy:
    """Return the strictest: deny, then an amount (the smallest allowance or the largest charge), then allow."""
    if any(policy.kind is PolicyKind.DENY for policy in policies):
        return DENY
    amounts = [policy for policy in policies if policy.kind is PolicyKind.AMOUNT]
    if not amounts:
        return ALLOW
    choose = min if smallest_amount else max
    return choose(amounts, key=lambda policy: policy.amount_nanos)


def rule_id(kind: RuleKind, key: str, window: WindowType) -> str:
    """Return the stable id of a rule that was given none: the digest of what makes it unique."""
    text = (
        f'["{kind}", {encode_basestring_ascii(key)}, "{window}"]'  # The JSON of the list, made in a third of the time.
    )
    return "rule-" + hashlib.sha256(text.encode()).hexdigest()[:16]


def _index(rules: tuple[Rule, ...]) -> tuple[dict[str, tuple[Rule, ...]], dict[str, tuple[Rule, ...]]]:
    """Return the templates and the overrides by key."""
    templates: dict[str, tuple[Rule, ...]] = {}
    overrides: dict[str, tuple[Rule, ...]] = {}
    for rule in rules:
        by_key = templates if rule.kind is RuleKind.TIER_TEMPLATE else overrides
        alone = (rule,)
        together = by_key.setdefault(rule.key, alone)
        if together is not alone:
            by_key[rule.key] = together + alone
    return templates, overrides


def _remove(by_key: dict[str, tuple[Rule, ...]], place: RulePlace) -> None:
    rules = by_key.get(place.key, ())
    left = tuple(rule for rule in rules if rule.id != place.id)
    if len(left) == len(rules):
        raise RuleUnknown(f"there is no rule {place.id} for {place.kind} {place.key!r}")
    if left:
        by_key[place.key] = left
    else:
        del by_key[place.key]


def _window_order(rule: Rule) -> int:
    return WINDOW_ORDER[rule.window]


def _active(rules: tuple[Rule, ...], now_ms: float, skipped: list[Skipped]) -> tuple[Rule, ...]:
    for rule in rules:
        if rule.status is RuleStatus.DISABLED:
            skipped.append(Skipped(rule=rule, why="disabled"))
        elif not rule.is_active(now_ms):
            skipped.append(Skipped(rule=rule, why="expired"))
    return tuple(rule for rule in rules if rule.is_active(now_ms))


EMPTY_RULE_SET = RuleSet.of(revision=0, workspace=Workspace(), rules=())
