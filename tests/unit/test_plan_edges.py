"""Plans at the edges of time, zones and modes."""

from ledger.plans import MAX_TEMPLATE_CALENDARS, compile_plan
from ledger.rules import ALLOW, DENY, Mode
from ledger.windows import Calendar
from tests.support.ledger_under_test import NOON_MS, rule, rules, template

ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "Asia/Tokyo")


def test_a_plan_holds_from_the_end_of_a_rule_on() -> None:
    """A sidecar whose clock is ahead must not skip a rule that the store still has in force."""
    plan = compile_plan(rules(rule(expires_at_ms=NOON_MS - 5)), "alice", None, NOON_MS)
    assert (NOON_MS - 5, ()) == (plan.valid_from_ms, plan.budgets)


def test_a_plan_holds_until_the_end_of_a_rule() -> None:
    """A temporary raise ends in the middle of a day."""
    plan = compile_plan(rules(rule(expires_at_ms=NOON_MS + 5)), "alice", None, NOON_MS)
    assert (NOON_MS + 5, 1) == (plan.valid_until_ms, len(plan.budgets))


def test_observe_refuses_nothing() -> None:
    """Neither a missing price nor a missing store blocks where every block is a dry run."""
    strict = rule(on_unpriced=DENY, on_store_failure=DENY)
    plan = compile_plan(rules(strict, mode=Mode.OBSERVE), "alice", None, NOON_MS)
    assert (ALLOW, ALLOW) == (plan.on_unpriced, plan.on_store_failure)


def test_the_zones_of_all_templates_are_counted() -> None:
    """A user who changes the tier was counted in the new tier's zone all along."""
    rule_set = rules(template("pro"), template("eu", calendar=Calendar("Asia/Kolkata")))
    plan = compile_plan(rule_set, "alice", "pro", NOON_MS)
    assert {"UTC", "Asia/Kolkata"} == {counter.calendar.timezone for counter in plan.counters}


def test_very_many_zones_are_not_all_counted() -> None:
    """Each charge would pay for every tier's zone."""
    assert MAX_TEMPLATE_CALENDARS < len(ZONES)
    rule_set = rules(*[template(zone, calendar=Calendar(zone)) for zone in ZONES])
    plan = compile_plan(rule_set, "alice", ZONES[0], NOON_MS)
    assert {"UTC", ZONES[0]} == {counter.calendar.timezone for counter in plan.counters}
