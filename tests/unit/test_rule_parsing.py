"""Rule parsing: every field of a rule and of the workspace, and every fault with its path."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from ledger.errors import RuleSetInvalid
from ledger.rule_parsing import parse_rule_set
from ledger.rules import (
    ALLOW,
    DENY,
    Action,
    Mode,
    OnExpiry,
    PlanName,
    Policy,
    PolicyKind,
    Rule,
    RuleKind,
    RuleStatus,
    Workspace,
    rule_id,
)
from ledger.windows import Calendar, WeekStart, WindowType

TEMPLATE = {"kind": "tier_template", "key": "free", "limit_usd": 5}
EXPIRY_MS = 1_767_225_600_000
DOLLAR = Policy(PolicyKind.AMOUNT, 1_000_000_000)


def parse_rule(**fields: object) -> Rule:
    """Return the one rule of a document."""
    return parse_rule_set({"rules": [{**TEMPLATE, **fields}]}, revision=1).rules[0]


def faults_of(document: object) -> list[tuple[str, str]]:
    """Return the faults a document is refused for."""
    with pytest.raises(RuleSetInvalid) as caught:
        parse_rule_set(document, revision=1)
    return caught.value.faults


def rule_faults(**fields: object) -> list[tuple[str, str]]:
    """Return the faults a rule is refused for; None as value leaves the field's default null."""
    return faults_of({"rules": [{**TEMPLATE, **fields}]})


def paths_of(faults: list[tuple[str, str]]) -> list[str]:
    """Return where the faults are."""
    return [path for path, _ in faults]


def test_shortest_rule_has_the_defaults() -> None:
    """A rule needs kind, key and limit; the rest is warn, month, 80 percent, active, in the workspace's calendar."""
    expected = Rule(
        id=rule_id(RuleKind.TIER_TEMPLATE, "free", WindowType.MONTH),
        kind=RuleKind.TIER_TEMPLATE,
        key="free",
        limit_nanos=5_000_000_000,
        window=WindowType.MONTH,
        action=Action.WARN,
        thresholds_pct=(80,),
        status=RuleStatus.ACTIVE,
        calendar=Calendar("UTC"),
        on_store_failure=ALLOW,
        on_unpriced=ALLOW,
    )

    assert expected == parse_rule()


def test_missing_workspace_has_the_defaults() -> None:
    """Without settings a workspace enforces, in UTC, on the plan `growth`, and charges expired holds."""
    assert Workspace() == parse_rule_set({"rules": []}, revision=1).workspace


def test_workspace_settings_are_read() -> None:
    """Every setting of the workspace is taken."""
    settings = {
        "timezone": "Asia/Kolkata",
        "week_start": "sunday",
        "plan": "starter",
        "on_expiry": "release",
        "mode": "observe",
    }
    expected = Workspace(
        calendar=Calendar("Asia/Kolkata", WeekStart.SUNDAY),
        plan=PlanName.STARTER,
        on_expiry=OnExpiry.RELEASE,
        mode=Mode.OBSERVE,
    )

    assert expected == parse_rule_set({"workspace": settings, "rules": []}, revision=1).workspace


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("day", WindowType.DAY),
        ("daily", WindowType.DAY),
        ("week", WindowType.WEEK),
        ("weekly", WindowType.WEEK),
        ("month", WindowType.MONTH),
        ("monthly", WindowType.MONTH),
    ],
)
def test_window_has_an_adverb_too(text: str, window: WindowType) -> None:
    """Both `day` and `daily` are accepted."""
    assert window is parse_rule(window=text).window


@pytest.mark.parametrize(
    ("limit", "nanos"),
    [(0, 0), ("0.000000001", 1), (None, None), (8_000_000, 8_000_000_000_000_000), (0.1, 100_000_000)],
)
def test_limit_is_exact_or_null_for_unlimited(limit: object, nanos: int | None) -> None:
    """A limit is an amount; null is unlimited, which is not zero."""
    assert nanos == parse_rule(limit_usd=limit).limit_nanos


@pytest.mark.parametrize(
    ("fields", "thresholds"),
    [
        ({"alert_thresholds_pct": [95, 50, 80]}, (50, 80, 95)),
        ({"alert_thresholds_pct": []}, ()),
        ({"alert_threshold_pct": 100}, (100,)),
        ({"alert_thresholds_pct": list(range(1, 21))}, tuple(range(1, 21))),
        ({"alert_thresholds_pct": None}, (80,)),
    ],
)
def test_thresholds_are_a_list_or_one_number(fields: dict[str, object], thresholds: tuple[int, ...]) -> None:
    """Thresholds are kept in order; an empty list means no alerts."""
    assert thresholds == parse_rule(**fields).thresholds_pct


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alert_thresholds_pct", [0]),
        ("alert_thresholds_pct", [101]),
        ("alert_thresholds_pct", [80, 80]),
        ("alert_thresholds_pct", [80.0]),
        ("alert_thresholds_pct", [True]),
        ("alert_thresholds_pct", ["80"]),
        ("alert_thresholds_pct", 80),
        ("alert_thresholds_pct", list(range(1, 22))),
        ("alert_threshold_pct", 0),
        ("alert_threshold_pct", [80]),
        ("limit_usd", -1),
        ("limit_usd", True),
        ("limit_usd", "five"),
        ("limit_usd", float("nan")),
        ("limit_usd", 8_000_001),
        ("limit_usd", "0.0000000001"),
        ("kind", "template"),
        ("kind", ["tier_template"]),
        ("key", ""),
        ("key", "x" * 257),
        ("key", "a\nb"),
        ("key", 42),
        ("window", "year"),
        ("window", 1),
        ("window", ["day"]),
        ("action", "Block"),
        ("status", "on"),
        ("timezone", "Europe/Berln"),
        ("timezone", 1),
        ("week_start", "tuesday"),
        ("on_store_failure", "maybe"),
        ("on_store_failure", True),
        ("on_store_failure", {"charge_usd": 1}),
        ("on_store_failure", {"allow_up_to_usd": 1, "more": 2}),
        ("on_store_failure", {}),
        ("on_unpriced", {"allow_up_to_usd": 1}),
        ("wait_for_replica", "yes"),
        ("wait_for_replica", 1),
        ("expires_at", "2026-01-01"),
        ("expires_at", "2026-01-01T00:00:00"),
        ("expires_at", "2026-02-30T00:00:00Z"),
        ("expires_at", "2026-W01-1T00:00:00Z"),
        ("expires_at", "9999-12-31T23:59:59-12:00"),
        ("expires_at", "0001-01-01T00:00:00+14:00"),
        ("expires_at", EXPIRY_MS),
        ("expires_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - what YAML makes of a time without offset
        ("expires_at", date(2026, 1, 1)),
        ("note", "x" * 501),
        ("note", "a\x00b"),
        ("note", 5),
        ("id", "with space"),
        ("id", ""),
        ("id", "x" * 65),
        ("id", 7),
    ],
)
def test_faulty_field_is_refused_under_its_path(field: str, value: object) -> None:
    """Each wrong type and value is one fault at its field."""
    assert [f"rules[0].{field}"] == paths_of(rule_faults(**{field: value}))


@pytest.mark.parametrize("field", ["kind", "key", "limit_usd"])
def test_required_field_is_missed(field: str) -> None:
    """Kind, key and limit have no default; an unlimited rule says null."""
    fields = {name: value for name, value in TEMPLATE.items() if name != field}

    faults = faults_of({"rules": [fields]})

    assert [f"rules[0].{field}"] == paths_of(faults)
    assert faults[0][1].startswith("is required")


def test_star_is_a_template_and_no_override() -> None:
    """The key `*` stands for every other tier, and for no user."""
    assert "*" == parse_rule(key="*").key
    assert ["rules[0].key"] == paths_of(rule_faults(kind="user_override", key="*"))


@pytest.mark.parametrize(("action", "policy"), [("block", DENY), ("warn", ALLOW), ("dry_run", ALLOW)])
def test_policies_follow_the_action(action: str, policy: Policy) -> None:
    """A blocking rule denies what it cannot judge, the others allow it."""
    rule = parse_rule(action=action)

    assert (policy, policy) == (rule.on_store_failure, rule.on_unpriced)


def test_policies_are_read() -> None:
    """A policy is a word or an amount of its own kind."""
    rule = parse_rule(action="block", on_store_failure={"allow_up_to_usd": "1.00"}, on_unpriced={"charge_usd": 1})

    assert (DOLLAR, DOLLAR) == (rule.on_store_failure, rule.on_unpriced)
    assert ALLOW == parse_rule(action="block", on_store_failure="allow").on_store_failure
    assert DENY == parse_rule(on_unpriced="deny").on_unpriced


def test_faulty_amount_of_a_policy_has_its_own_path() -> None:
    """The path leads to the amount inside the policy."""
    faults = rule_faults(on_store_failure={"allow_up_to_usd": -1})

    assert [("rules[0].on_store_failure.allow_up_to_usd", "must not be negative")] == faults


@pytest.mark.parametrize(
    "moment",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00z",
        "2026-01-01 01:00:00+01:00",
        "2025-12-31T19:00:00.000999-05:00",
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
)
def test_expiry_is_a_moment_with_an_offset(moment: object) -> None:
    """RFC 3339 text and YAML's times are the same moment, to the millisecond."""
    assert EXPIRY_MS == parse_rule(expires_at=moment).expires_at_ms


def test_rule_without_calendar_has_the_workspaces() -> None:
    """Zone and week start are inherited each on its own."""
    workspace = {"timezone": "Asia/Kolkata", "week_start": "sunday"}
    rules = [
        {**TEMPLATE, "key": "a"},
        {**TEMPLATE, "key": "b", "timezone": "UTC"},
        {**TEMPLATE, "key": "c", "week_start": "monday"},
    ]
    rule_set = parse_rule_set({"workspace": workspace, "rules": rules}, revision=1)

    expected = [
        Calendar("Asia/Kolkata", WeekStart.SUNDAY),
        Calendar("UTC", WeekStart.SUNDAY),
        Calendar("Asia/Kolkata", WeekStart.MONDAY),
    ]
    assert expected == [rule.calendar for rule in rule_set.rules]


def test_both_spellings_of_thresholds_are_too_many() -> None:
    """A list and one number contradict each other."""
    faults = rule_faults(alert_threshold_pct=80, alert_thresholds_pct=[90])

    assert ["rules[0].alert_threshold_pct"] == paths_of(faults)


@pytest.mark.parametrize(
    ("field", "right", "wrong"),
    [
        ("wait_for_replica", True, 1),
        ("alert_threshold_pct", 1, True),
        ("alert_thresholds_pct", [80], [80.0]),
        ("limit_usd", 1, True),
        ("limit_usd", "5", "5 "),
        ("note", "a", 1),
        ("key", "ann", "*"),
        ("id", "rule-a", "rule a"),
    ],
)
def test_a_fault_is_found_after_a_rule_that_looks_the_same(field: str, right: object, wrong: object) -> None:
    """What a document has said before is compared, not read again: what only equals it in Python is still refused."""
    user = {"kind": "user_override", "limit_usd": 5}
    rows = [{**user, "key": "first", field: right}, {**user, "key": "second", field: wrong}]

    assert [f"rules[1].{field}"] == paths_of(faults_of({"rules": rows}))


def test_rules_that_say_the_same_share_it() -> None:
    """Of overrides alike in all but key and limit, each costs memory for these alone."""
    user = {"kind": "user_override", "alert_thresholds_pct": [50, 90], "limit_usd": "5000.00"}
    first, second = parse_rule_set({"rules": [{**user, "key": key} for key in ("ann", "bob")]}, revision=1).rules

    assert first.thresholds_pct is second.thresholds_pct
    assert first.limit_nanos is second.limit_nanos
    assert first.calendar is second.calendar


def test_a_document_is_left_as_it_was_unless_it_may_be_consumed() -> None:
    """Rows leave the list of who has no more use for it, and of nobody else."""
    document: dict[str, list[object]] = {"rules": [TEMPLATE, {**TEMPLATE, "key": "pro"}]}
    kept = parse_rule_set(document, revision=1)
    rows = list(document["rules"])

    assert kept == parse_rule_set(document, revision=1, consume=True)
    assert ([TEMPLATE, {**TEMPLATE, "key": "pro"}], [None, None]) == (rows, document["rules"])
