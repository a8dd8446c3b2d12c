"""Rule parsing: documents to rule sets, every fault with its path, and back."""

import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import sections
from ledger.errors import RuleSetInvalid
from ledger.prices import Priced
from ledger.rule_parsing import document_revision, dump_rule_set, parse_rule_set
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
    RuleSet,
    RuleStatus,
    Workspace,
    rule_id,
)
from ledger.usage import Usage
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


def test_unknown_field_is_refused_with_a_hint() -> None:
    """A typo is named with what was probably meant."""
    assert [("rules[0].limit", "unknown field; did you mean 'limit_usd'?")] == rule_faults(limit=5)


def test_unknown_field_without_likeness_has_no_hint() -> None:
    """No guess is better than a wild one."""
    assert [("rules[0].zzz", "unknown field")] == rule_faults(zzz=5)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"rules": [], "rulez": []}, "rulez"),
        ({"rules": [], True: 1}, "True"),
        ({"rules": [], "workspace": {"tz": "UTC"}}, "workspace.tz"),
        ({"rules": [], "workspace": {"timezone": "Mars/Base"}}, "workspace.timezone"),
        ({"rules": [], "workspace": {"mode": "off"}}, "workspace.mode"),
        ({"rules": [], "workspace": []}, "workspace"),
        ({"rules": {}}, "rules"),
        ({"rules": None}, "rules"),
        ({}, "rules"),
        ({"rules": ["free"]}, "rules[0]"),
        ({"rules": [], "revision": 0}, "revision"),
        ({"rules": [], "revision": True}, "revision"),
        ({"rules": [], "revision": "7"}, "revision"),
        ({"rules": [], "revision": 2**53}, "revision"),
        ({"rules": [], "prices": "m"}, "prices"),
        ({"rules": [], "prices": {}}, "prices.version"),
        ({"rules": [], "prices": [1]}, "prices[0]"),
    ],
)
def test_fault_of_the_document_has_its_path(document: object, path: str) -> None:
    """Faults outside of rules are found too."""
    assert path in paths_of(faults_of(document))


@pytest.mark.parametrize("document", [None, [], "rules", 7])
def test_document_is_a_mapping(document: object) -> None:
    """An empty or half-written file removes no rules."""
    assert ["document", "rules"] == paths_of(faults_of(document))


def test_all_faults_are_listed_at_once() -> None:
    """One look at the list is enough to mend the file."""
    document = {
        "workspace": {"timezone": "Mars/Base", "plan": "gold"},
        "rules": [TEMPLATE, {"kind": "tier_template", "key": "", "limit_usd": -1, "windw": "day"}, 5],
        "prices": [{"model": "m", "input_usd_per_million": -1}],
    }

    expected = [
        "workspace.timezone",
        "workspace.plan",
        "rules[1].windw",
        "rules[1].key",
        "rules[1].limit_usd",
        "rules[2]",
        "rules[2].kind",
        "rules[2].key",
        "rules[2].limit_usd",
        "prices[0].input_usd_per_million",
        "prices[0].output_usd_per_million",
    ]
    assert expected == paths_of(faults_of(document))


def test_listing_of_faults_is_bounded() -> None:
    """A million wrong rules are refused after a thousand faults."""
    faults = faults_of({"rules": [None] * 1_000_000})

    assert sections.MAX_FAULTS + 1 == len(faults)
    assert "document" == faults[-1][0]


def test_more_than_a_million_rules_are_refused() -> None:
    """The number of rules is bounded, and none of them is read then."""
    assert [("rules", "has more than 1000000 rules")] == faults_of({"rules": [None] * 1_000_001})


def test_second_rule_for_the_same_is_refused() -> None:
    """One rule for each kind, key and window, however the window is spelled."""
    document = {"rules": [{**TEMPLATE, "window": "day"}, TEMPLATE, {**TEMPLATE, "window": "daily"}]}

    assert [("rules[2]", "has the kind, key and window of rules[0]; one rule for each")] == faults_of(document)


def test_same_key_may_be_tier_and_user() -> None:
    """Kind, key and window together must be unique, not each alone."""
    rules = [
        TEMPLATE,
        {**TEMPLATE, "window": "day"},
        {**TEMPLATE, "kind": "user_override"},
        {**TEMPLATE, "key": "Free"},
    ]

    assert 4 == len(parse_rule_set({"rules": rules}, revision=1).rules)


def test_id_given_twice_is_refused() -> None:
    """Ids name rules in events, so that no two rules share one."""
    rules = [{**TEMPLATE, "id": "a"}, {**TEMPLATE, "key": "pro", "id": "a"}]

    assert [("rules[1].id", "is the id of rules[0]")] == faults_of({"rules": rules})


def test_own_id_is_kept() -> None:
    """A rule may bring its id."""
    assert "Own_id-1" == parse_rule(id="Own_id-1").id


def test_fault_message_is_short() -> None:
    """A huge value is not repeated in full, nor is a huge number spelled."""
    assert all(len(message) < 200 for _, message in rule_faults(action="x" * 10_000, revision=2**20_000))
    assert "huge" in faults_of({"rules": [], "revision": 2**20_000})[0][1]


def test_stated_revision_wins() -> None:
    """A document that knows its revision keeps it."""
    assert 41 == parse_rule_set({"revision": 41, "rules": []}, revision=7).revision
    assert 7 == parse_rule_set({"rules": []}, revision=7).revision


@pytest.mark.parametrize(
    ("document", "revision"), [({"revision": 41}, 41), ({"revision": None}, None), ({}, None), ([], None)]
)
def test_document_revision_is_told(document: object, revision: int | None) -> None:
    """The revision can be read without the rules."""
    assert revision == document_revision(document)


def test_faulty_document_revision_is_refused() -> None:
    """A revision is a positive whole number."""
    with pytest.raises(RuleSetInvalid, match="revision: must be a whole number"):
        document_revision({"revision": -1})


def test_prices_are_read() -> None:
    """A rule set's prices are a list or a book; tests/unit/test_price_parsing.py has their fields."""
    price = {"provider": "p", "model": "m", "input_usd_per_million": "3", "output_usd_per_million": 15}
    usage = Usage(provider="p", model="m", input_tokens=1_000_000)

    for prices in ([price], {"version": "v", "models": [price]}):
        book = parse_rule_set({"rules": [], "prices": prices}, revision=1).prices
        assert Priced(3_000_000_000, book.version) == book.price(usage, 0)


def test_second_price_for_a_model_is_refused() -> None:
    """One price for each provider and model."""
    price = {"model": "m", "input_usd_per_million": 1, "output_usd_per_million": 2}

    assert ["prices[1]"] == paths_of(faults_of({"rules": [], "prices": [price, price]}))


names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
amounts = st.integers(min_value=0, max_value=8_000_000_000_000_000).map(
    lambda nanos: f"{nanos // 10**9}.{nanos % 10**9:09d}"
)
calendar_fields = st.fixed_dictionaries(
    {},
    optional={
        "timezone": st.sampled_from(["UTC", "Asia/Kolkata"]),
        "week_start": st.sampled_from(["monday", "sunday"]),
    },
)
rules = st.builds(
    lambda required, optional, calendar: {**required, **optional, **calendar},
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["tier_template", "user_override"]),
            "key": names.filter(lambda name: name != "*"),
            "limit_usd": st.none() | amounts,
        }
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "window": st.sampled_from(["day", "week", "month"]),
            "action": st.sampled_from(["warn", "block", "dry_run"]),
            "alert_thresholds_pct": st.lists(st.integers(1, 100), max_size=20, unique=True),
            "status": st.sampled_from(["active", "disabled"]),
            "on_store_failure": st.sampled_from(["deny", "allow"]) | amounts.map(lambda usd: {"allow_up_to_usd": usd}),
            "wait_for_replica": st.booleans(),
            "on_unpriced": st.sampled_from(["deny", "allow"]) | amounts.map(lambda usd: {"charge_usd": usd}),
            "expires_at": st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds have none
            "note": st.text(st.characters(categories=["L", "N"]), max_size=500),
        },
    ),
    calendar_fields,
)
documents = st.fixed_dictionaries(
    {
        "rules": st.lists(
            rules, max_size=5, unique_by=lambda rule: (rule["kind"], rule["key"], rule.get("window", "month"))
        )
    },
    optional={
        "revision": st.integers(1, 2**53 - 1),
        "workspace": calendar_fields,
        "prices": st.lists(
            st.fixed_dictionaries(
                {"model": names, "input_usd_per_million": amounts, "output_usd_per_million": amounts},
                optional={"provider": names},
            ),
            max_size=3,
            unique_by=lambda price: (price.get("provider", "").lower(), price["model"].lower()),
        ),
    },
)


@given(documents)
def test_dumped_rule_set_reads_back_the_same(document: dict[str, object]) -> None:
    """A rule set survives the way through JSON in every field."""
    rule_set = parse_rule_set(document, revision=1)

    assert rule_set == parse_rule_set(json.loads(json.dumps(dump_rule_set(rule_set))), revision=99)


def test_dump_leaves_out_what_follows_from_elsewhere() -> None:
    """A default policy and the workspace's calendar are not pinned, so that they follow later edits."""
    document = dump_rule_set(parse_rule_set({"rules": [TEMPLATE]}, revision=3))

    expected = {
        "id": rule_id(RuleKind.TIER_TEMPLATE, "free", WindowType.MONTH),
        "kind": "tier_template",
        "key": "free",
        "limit_usd": "5.00",
        "window": "month",
        "action": "warn",
        "alert_thresholds_pct": [80],
        "status": "active",
    }
    assert [expected] == document["rules"]


def test_rule_set_is_indexed_by_key() -> None:
    """The rules of a tier and of a user are found by one look-up, in the document's order."""
    rules = [{**TEMPLATE, "window": window} for window in ("day", "month")] + [
        {**TEMPLATE, "kind": "user_override", "key": "u"}
    ]
    rule_set: RuleSet = parse_rule_set({"rules": rules}, revision=1)

    assert rule_set.rules[:2] == rule_set.templates["free"]
    assert rule_set.rules[2:] == rule_set.overrides["u"]
