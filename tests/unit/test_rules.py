"""Rules: whom they apply to, and which policy of several holds."""

from dataclasses import replace

import pytest

from ledger.rule_parsing import parse_rule_set
from ledger.rules import (
    ALLOW,
    DENY,
    EMPTY_RULE_SET,
    Match,
    Policy,
    PolicyKind,
    RuleKind,
    RuleSet,
    match_rules,
    rule_id,
    strictest,
)
from ledger.windows import WindowType

NOW_MS = 1_767_225_600_000
LATER = "2026-01-01T00:00:01Z"
EARLIER = "2025-12-31T23:59:59Z"
ONE_CENT = Policy(PolicyKind.AMOUNT, 10_000_000)
TWO_CENTS = Policy(PolicyKind.AMOUNT, 20_000_000)


def rules_of(*rules: dict[str, object]) -> RuleSet:
    """Return a rule set of rules with a limit of a dollar each, named by their notes."""
    return parse_rule_set({"rules": [{"limit_usd": 1, **rule} for rule in rules]}, revision=1)


def template(key: str, note: str, **fields: object) -> dict[str, object]:
    """Return the document of a template."""
    return {"kind": "tier_template", "key": key, "note": note, **fields}


def override(key: str, note: str, **fields: object) -> dict[str, object]:
    """Return the document of an override."""
    return {"kind": "user_override", "key": key, "note": note, **fields}


def applying(match: Match) -> list[str]:
    """Return the notes of the rules that apply."""
    return [rule.note for rule in match.rules]


def skipped(match: Match) -> list[tuple[str, str]]:
    """Return the notes of the rules that do not apply, and why."""
    return [(entry.rule.note, entry.why) for entry in match.skipped]


def test_template_applies_to_users_of_its_tier() -> None:
    """A user gets the template of the tier that was sent."""
    rule_set = rules_of(template("free", "of free"), template("pro", "of pro"))

    assert ["of pro"] == applying(match_rules(rule_set, "u", "pro", NOW_MS))


@pytest.mark.parametrize("tier", [None, "unheard-of", "Free"])
def test_star_applies_without_a_template_of_the_tier(tier: str | None) -> None:
    """Users without a tier, or of a tier without template, get the template of `*`; tiers are case-sensitive."""
    match = match_rules(rules_of(template("*", "of all"), template("free", "of free")), "u", tier, NOW_MS)

    assert (["of all"], True) == (applying(match), match.counts_as_any_tier)


def test_tier_with_a_template_skips_star() -> None:
    """The `*` template is for others when the tier has its own, and its row does not count this user."""
    match = match_rules(rules_of(template("*", "of all"), template("free", "of free")), "u", "free", NOW_MS)

    assert ([("of all", "tier_has_template")], False) == (skipped(match), match.counts_as_any_tier)


def test_override_replaces_every_template() -> None:
    """One active override silences all templates, whatever their windows."""
    rule_set = rules_of(
        template("free", "daily", window="day"), template("*", "of all"), override("u", "own", window="month")
    )
    match = match_rules(rule_set, "u", "free", NOW_MS)

    assert ["own"] == applying(match)
    assert [("daily", "overridden"), ("of all", "overridden")] == skipped(match)


def test_override_of_another_user_is_not_even_skipped() -> None:
    """Rules that do not name the user are no concern of this match."""
    assert [] == skipped(match_rules(rules_of(override("other", "own")), "u", None, NOW_MS))


def test_all_disabled_overrides_fall_through_to_the_template() -> None:
    """A disabled override is skipped as if it were not there."""
    rule_set = rules_of(template("free", "of free"), override("u", "own", status="disabled"))
    match = match_rules(rule_set, "u", "free", NOW_MS)

    assert (["of free"], [("own", "disabled")]) == (applying(match), skipped(match))


def test_disabled_template_of_the_tier_falls_through_to_star() -> None:
    """Without an active template of its own the tier is one of the others."""
    rule_set = rules_of(template("free", "of free", status="disabled"), template("*", "of all"))

    assert ["of all"] == applying(match_rules(rule_set, "u", "free", NOW_MS))


@pytest.mark.parametrize(
    ("expires_at", "note"), [(LATER, "raise"), (EARLIER, "of free"), ("2026-01-01T00:00:00Z", "of free")]
)
def test_rule_ends_at_its_expiry(expires_at: str, note: str) -> None:
    """A rule is in force before `expires_at`, not at it."""
    rule_set = rules_of(template("free", "of free"), override("u", "raise", expires_at=expires_at))

    assert [note] == applying(match_rules(rule_set, "u", "free", NOW_MS))


def test_rules_of_all_windows_apply_together() -> None:
    """A tier may have a limit in each window."""
    rule_set = rules_of(*(template("free", window, window=window) for window in ("day", "week", "month")))

    assert ["day", "week", "month"] == applying(match_rules(rule_set, "u", "free", NOW_MS))


def test_user_named_like_a_tier_gets_no_template_by_it() -> None:
    """Keys of overrides and of templates are apart."""
    match = match_rules(rules_of(template("free", "of free"), override("free", "own")), "u", "free", NOW_MS)

    assert ["of free"] == applying(match)


@pytest.mark.parametrize(
    ("policies", "allowance", "charge"),
    [
        ([], ALLOW, ALLOW),
        ([ALLOW, DENY, ONE_CENT], DENY, DENY),
        ([ALLOW, ONE_CENT], ONE_CENT, ONE_CENT),
        ([TWO_CENTS, ONE_CENT], ONE_CENT, TWO_CENTS),
    ],
)
def test_strictest_policy_holds(policies: list[Policy], allowance: Policy, charge: Policy) -> None:
    """Deny is the strictest, then the smallest allowance or the largest charge, then allow."""
    assert allowance == strictest(policies, smallest_amount=True)
    assert charge == strictest(policies, smallest_amount=False)


def test_rule_id_follows_what_makes_a_rule_unique() -> None:
    """Kind, key and window each make another id."""
    ids = {rule_id(kind, key, window) for kind in RuleKind for key in ("a", "b", 'a"b') for window in WindowType}

    assert 2 * 3 * 3 == len(ids)


def test_rule_id_is_stable() -> None:
    """Ids stand in events and tallies, so that they never change."""
    assert "rule-7bb3e20d3d55b440" == rule_id(RuleKind.TIER_TEMPLATE, "free", WindowType.MONTH)


def test_rule_sets_differ_by_revision() -> None:
    """Equality means the same rules under the same revision."""
    assert replace(EMPTY_RULE_SET, revision=1) != EMPTY_RULE_SET
