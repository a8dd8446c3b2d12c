"""Plans are compiled once, and again when time or rules move on."""

from ledger.rules import Action, RuleSet
from sidecar.plan_cache import MAX_PLANS, PlanCache
from tests.support.ledger_under_test import NOON_MS, rule, rules, template

DAY_MS = 86_400_000


def test_users_of_a_tier_share_one_plan() -> None:
    """The plan depends on the user only through the rules."""
    cache, rule_set = PlanCache(), rules(template("pro"))
    assert cache.get(rule_set, "a", "pro", NOON_MS) is cache.get(rule_set, "b", "pro", NOON_MS)


def test_a_user_with_an_override_has_a_plan_of_its_own() -> None:
    """An override changes the plan of its user only."""
    cache, rule_set = PlanCache(), rules(template("pro"), rule("a"))
    assert cache.get(rule_set, "a", "pro", NOON_MS) is not cache.get(rule_set, "b", "pro", NOON_MS)


def test_new_rules_make_a_new_plan() -> None:
    """An edit takes effect at the next decision."""
    cache = PlanCache()
    old = cache.get(rules(template("pro")), "a", "pro", NOON_MS)
    new = cache.get(rules(template("pro", action=Action.WARN), revision=2), "a", "pro", NOON_MS)
    assert (1, 2) == (old.revision, new.revision)


def test_a_window_that_ends_makes_a_new_plan() -> None:
    """After midnight other windows are counted."""
    cache, rule_set = PlanCache(), rules(template("pro"))
    today = cache.get(rule_set, "a", "pro", NOON_MS)
    assert today.valid_until_ms == cache.get(rule_set, "a", "pro", NOON_MS + DAY_MS).valid_from_ms


def test_a_look_into_the_past_does_not_replace_todays_plan() -> None:
    """A late settle plans for its reserve; the next check must not pay for it."""
    cache, rule_set = PlanCache(), rules(template("pro"))
    today = cache.get(rule_set, "a", "pro", NOON_MS)
    cache.get(rule_set, "a", "pro", NOON_MS - DAY_MS)
    assert today is cache.get(rule_set, "a", "pro", NOON_MS)


def test_the_cache_is_bounded() -> None:
    """Tiers are the callers' words; ever new ones must not fill the memory."""
    cache, rule_set = PlanCache(), RuleSet.of(revision=1, workspace=rules().workspace, rules=())
    for number in range(MAX_PLANS + 10):
        cache.get(rule_set, "a", f"tier-{number}", NOON_MS)
    assert len(cache._plans) <= MAX_PLANS
