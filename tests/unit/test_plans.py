"""Plans: what one user's next decision needs, and how long it is good."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ledger.decisions import Reason
from ledger.plans import FIELD, Plan, compile_plan, decode_context, encode_context, parse_window_code
from ledger.rule_parsing import parse_rule_set
from ledger.rules import ALLOW, DENY, OnExpiry, Policy, PolicyKind
from ledger.windows import WindowType

NOW_MS = 1_782_907_200_000  # Wednesday, 1 July 2026, 12:00 UTC


def plan_of(
    *rules: dict[str, object], user_id: str = "u", tier: str | None = "free", at_ms: int = NOW_MS, **workspace: object
) -> Plan:
    """Return a user's plan under the rules, templates of tier `free` unless they say otherwise."""
    defaults = {"kind": "tier_template", "key": "free", "limit_usd": 1}
    document = {"workspace": workspace, "rules": [{**defaults, **rule} for rule in rules]}
    return compile_plan(parse_rule_set(document, revision=7), user_id, tier, at_ms)


def local_ms(zone: str, text: str) -> int:
    """Return the Unix milliseconds of a local time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def test_day_week_and_month_are_counted_without_rules() -> None:
    """Spend is counted in the workspace's windows from the first call on."""
    plan = plan_of()

    assert [WindowType.DAY, WindowType.WEEK, WindowType.MONTH] == [counter.window.type for counter in plan.counters]
    assert Reason.NO_RULE is plan.calm_reason


def test_other_zone_adds_its_own_three_counters() -> None:
    """A rule in another zone counts days, weeks and months there, each seeded from the workspace's of its type."""
    plan = plan_of({"timezone": "Asia/Kolkata"})

    assert [None, None, None, 0, 1, 2] == [counter.seed for counter in plan.counters]
    assert ["UTC"] * 3 + ["Asia/Kolkata"] * 3 == [counter.calendar.timezone for counter in plan.counters]


def test_counter_of_another_zone_knows_its_previous_window() -> None:
    """The previous window tells whether the zone was counted before."""
    day = plan_of({"timezone": "Asia/Kolkata"}).counters[3]

    assert day.previous is not None
    assert day.window.start_s == day.previous.end_s


def test_calendars_with_the_same_windows_share_counters() -> None:
    """Another week start differs in its week only, another name of the same zone in nothing."""
    assert 4 == len(plan_of({"week_start": "sunday"}).counters)
    assert 3 == len(plan_of({"timezone": "Etc/UTC"}).counters)


def test_skipped_rule_is_counted_in_its_zone_all_the_same() -> None:
    """A disabled rule's zone is counted, so that it is right as soon as it acts."""
    plan = plan_of({"timezone": "Asia/Kolkata", "status": "disabled"})

    assert (6, 0) == (len(plan.counters), len(plan.budgets))


def test_budget_points_to_the_counter_of_its_window() -> None:
    """Each budget is judged by the counter of its own window and zone."""
    plan = plan_of({"window": "day"}, {"window": "month", "timezone": "Asia/Kolkata"})

    assert [0, 5] == [budget.counter for budget in plan.budgets]
    assert all(plan.counters[budget.counter].window == budget.terms.window for budget in plan.budgets)


def test_thresholds_are_shares_of_the_limit_rounded_up() -> None:
    """Scripts compare integers only."""
    spec = plan_of({"limit_usd": "0.000000101", "alert_thresholds_pct": [95, 50]}).budgets[0].spec

    assert ["warn", "101", "50:51,95:96"] == spec.split(FIELD)[1:]


@pytest.mark.parametrize(("limit_usd", "text"), [(0, "0"), (None, "")])
def test_limit_of_zero_and_no_limit_have_no_thresholds(limit_usd: int | None, text: str) -> None:
    """Nothing is a share of nothing."""
    assert [text, ""] == plan_of({"limit_usd": limit_usd}).budgets[0].spec.split(FIELD)[2:]


def test_observe_turns_block_into_dry_run_for_the_scripts_only() -> None:
    """The rule keeps its action, the script gets the effective one."""
    budget = plan_of({"action": "block"}, mode="observe").budgets[0]

    assert ("block", "dry_run") == (budget.terms.action, budget.spec.split(FIELD)[1])


def test_observe_leaves_warn_alone() -> None:
    """Only blocks change under `observe`."""
    assert "warn" == plan_of({"action": "warn"}, mode="observe").budgets[0].spec.split(FIELD)[1]


def test_stop_is_told_by_the_plan() -> None:
    """The mode `stop` blocks everything, with or without rules."""
    assert plan_of(mode="stop").stopped


@pytest.mark.parametrize("name", ["free", "starter"])
def test_below_growth_no_rule_acts(name: str) -> None:
    """Rules of a gated workspace are no budgets, but their zones are counted."""
    plan = plan_of({"action": "block", "timezone": "Asia/Kolkata"}, plan=name)

    assert (Reason.PLAN, 0, 6) == (plan.calm_reason, len(plan.budgets), len(plan.counters))
    assert (ALLOW, ALLOW) == (plan.on_store_failure, plan.on_unpriced)


def test_unlimited_rules_are_told_as_the_reason() -> None:
    """With nothing but unlimited rules a calm answer says so."""
    assert Reason.UNLIMITED is plan_of({"limit_usd": None}).calm_reason
    assert Reason.UNDER_LIMIT is plan_of({"limit_usd": None}, {"window": "day"}).calm_reason


def test_strictest_policies_of_the_acting_rules_hold() -> None:
    """Allowances take the smallest amount, charges the largest."""
    plan = plan_of(
        {"window": "day", "on_store_failure": {"allow_up_to_usd": 2}, "on_unpriced": {"charge_usd": 2}},
        {"window": "month", "on_store_failure": {"allow_up_to_usd": 1}, "on_unpriced": {"charge_usd": 1}},
    )

    assert Policy(PolicyKind.AMOUNT, 1_000_000_000) == plan.on_store_failure
    assert Policy(PolicyKind.AMOUNT, 2_000_000_000) == plan.on_unpriced


def test_every_allowance_is_kept_in_its_own_window() -> None:
    """A daily allowance must not let a month's be passed, so a call has to fit into both."""
    plan = plan_of(
        {"window": "day", "on_store_failure": {"allow_up_to_usd": 2}},
        {"window": "month", "on_store_failure": {"allow_up_to_usd": 1}},
    )
    kept = {(allowance.window, allowance.limit_nanos) for allowance in plan.allowances}

    assert {(plan.counters[0].window, 2_000_000_000), (plan.counters[2].window, 1_000_000_000)} == kept


@pytest.mark.parametrize("others", [{"window": "day"}, {"window": "day", "on_store_failure": "deny"}])
def test_an_allowance_counts_unless_another_rule_denies(others: dict[str, object]) -> None:
    """Rules that allow have nothing to count; beside one that denies nothing is let through."""
    plan = plan_of({"on_store_failure": {"allow_up_to_usd": 1}}, others)

    assert (plan.on_store_failure.kind is PolicyKind.AMOUNT) == bool(plan.allowances)


@pytest.mark.parametrize(("mode", "policy"), [("stop", DENY), ("observe", ALLOW)])
def test_the_mode_holds_without_the_store(mode: str, policy: Policy) -> None:
    """`stop` needs no counter to refuse, and `observe` refuses nothing, whatever the rules say."""
    plan = plan_of({"on_store_failure": {"allow_up_to_usd": 1}}, mode=mode)

    assert (policy, ()) == (plan.on_store_failure, plan.allowances)


def test_disabled_rule_has_no_say_in_policies() -> None:
    """Only acting rules are asked."""
    assert DENY != plan_of({"action": "block", "status": "disabled"}).on_store_failure


def test_plan_is_good_until_its_first_window_ends() -> None:
    """The day ends first, in whichever zone it ends first."""
    plan = plan_of({"timezone": "Asia/Kolkata"})

    assert local_ms("Asia/Kolkata", "2026-07-01 00:00") < plan.valid_from_ms <= NOW_MS
    assert local_ms("Asia/Kolkata", "2026-07-02 00:00") == plan.valid_until_ms


@pytest.mark.parametrize("status", ["active", "disabled"])
def test_plan_ends_when_a_rule_expires(status: str) -> None:
    """A temporary rule takes the plan along."""
    plan = plan_of({"expires_at": "2026-07-01T13:00:00Z", "status": status})

    assert local_ms("UTC", "2026-07-01 13:00") == plan.valid_until_ms


def test_expired_rule_does_not_end_the_plan_again() -> None:
    """An expiry in the past has had its effect."""
    assert local_ms("UTC", "2026-07-02 00:00") == plan_of({"expires_at": "2026-07-01T11:00:00Z"}).valid_until_ms


def test_tier_totals_go_to_the_tier_that_was_sent() -> None:
    """A tier with its own template counts in its own rows only, also in its template's zone."""
    plan = plan_of({"timezone": "Asia/Kolkata"})

    assert {"free"} == {entry.tier for entry in plan.tier_windows}
    assert 6 == len(plan.tier_windows)


@pytest.mark.parametrize(("tier", "rows"), [("unheard-of", {"unheard-of", "*"}), (None, {"*"})])
def test_tier_without_template_counts_in_the_star_row_too(tier: str | None, rows: set[str]) -> None:
    """The `*` row counts the users it applies to."""
    plan = plan_of({"key": "*"}, tier=tier)

    assert rows == {entry.tier for entry in plan.tier_windows}


def test_overridden_user_counts_in_the_row_of_the_tier() -> None:
    """An override changes the limit, not the tier the totals go to."""
    plan = plan_of({"kind": "user_override", "key": "u"}, {"key": "*"})

    assert {"free"} == {entry.tier for entry in plan.tier_windows}


def test_on_expiry_comes_from_the_workspace() -> None:
    """What becomes of a hold that nobody settled is a setting of the workspace."""
    assert OnExpiry.RELEASE is plan_of(on_expiry="release").on_expiry


def test_context_reads_back() -> None:
    """A replay's record keeps revision, tier and terms exactly."""
    terms = [budget.terms for budget in plan_of({"window": "day"}, {"limit_usd": None}).budgets]

    assert (7, "frée", tuple(terms)) == decode_context(encode_context(7, "frée", terms))


def test_window_code_reads_back() -> None:
    """A window is told by its code alone."""
    window = plan_of().counters[1].window

    assert window == parse_window_code(window.code)


@pytest.mark.parametrize(
    ("fields", "is_shared"),
    [
        ({}, True),
        ({"kind": "user_override", "key": "u"}, False),
        ({"kind": "user_override", "key": "u", "expires_at": "2026-06-30T00:00:00Z"}, False),
        ({"kind": "user_override", "key": "other"}, True),
    ],
)
def test_a_plan_is_shared_unless_an_override_matters_for_it(fields: dict[str, object], is_shared: bool) -> None:
    """Programs keep what users share; an override that has ended gives its user a span of its own."""
    assert is_shared is plan_of({}, fields | {"window": "week"}).is_shared
