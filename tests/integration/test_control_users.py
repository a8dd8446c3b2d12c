"""Users, tiers, usage, dry runs and adjustments over HTTP."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from controlplane.dry_run import MAX_RULES
from ledger.decisions import CounterState
from ledger.keys import partition_of
from ledger.rules import Action, Mode, PlanName, RuleStatus
from ledger.spend_reader import SpendReader
from ledger.windows import Calendar, WindowType
from tests.support.control_reads import ControlReads, control_reads
from tests.support.hostile_names import HOSTILE_NAMES
from tests.support.ledger_under_test import nanos, rule, rules, template

DAY = WindowType.DAY
PARTITIONS = 2
DRY_USERS = ("eve", "fay", "gus", "hal", "ivy")
CREDIT = {"request_id": "credit-1", "usd": "-1.50", "note": "refund of a broken answer"}


@pytest.fixture
async def control(store_url: str) -> AsyncIterator[ControlReads]:
    """A control plane with a template of 10 USD a month for free and an override of 3 USD a day for ann."""
    async with control_reads(store_url, partitions=PARTITIONS) as control:
        control.rule_set = rules(
            template("free", 10), rule("ann", 3, window=DAY, action=Action.WARN, thresholds_pct=(50, 80)), revision=4
        )
        yield control


def user_path(user_id: str, rest: str = "") -> str:
    """Return the path of a user as a client must write it."""
    return f"users/{quote(user_id, safe='')}{rest}"


async def user(control: ControlReads, user_id: str, **parameters: str) -> Any:
    """Return a user's view."""
    async with control.session.get(f"{control.url}/api/v1/{user_path(user_id)}", params=parameters) as response:
        assert response.status == 200, await response.text()
        return await response.json(content_type=None)


async def test_a_user_is_shown_with_windows_budgets_rules_and_holds(control: ControlReads) -> None:
    """What was spent and is held, which rule applies, which was skipped and why."""
    await control.check("ann", 2, tier="free")
    await control.reserve("ann", 0.5, tier="free", request_id="hold-1", model="gpt-5")
    view = await user(control, "ann", tier="free")
    (budget,), (hold,) = view["budgets"], view["holds"]["items"]

    assert ("ann", "free", "query", 4, 1) == (
        view["user_id"],
        view["tier"],
        view["tier_source"],
        view["revision"],
        view["open_holds"],
    )
    assert [("day", 2, 0.5, 2), ("week", 2, 0.5, 2), ("month", 2, 0.5, 2)] == [
        (entry["window"], entry["spend_usd"], entry["held_usd"], entry["calls"]) for entry in view["windows"]
    ]
    assert ("user_override", "warn", "warn", "day", 3, 2, 0.5, 0.5, 66.66, [50, 80]) == (
        budget["rule_kind"],
        budget["action"],
        budget["acts_as"],
        budget["window"],
        budget["limit_usd"],
        budget["spend_usd"],
        budget["held_usd"],
        budget["remaining_usd"],
        budget["percent"],
        budget["alert_thresholds_pct"],
    )
    assert (["ann"], [("overridden", "free")]) == (
        [entry["key"] for entry in view["rules"]],
        [(entry["why"], entry["rule"]["key"]) for entry in view["skipped"]],
    )
    assert ("hold-1", 0.5, "free", "gpt-5", False, 1) == (
        hold["request_id"],
        hold["amount_usd"],
        hold["tier"],
        hold["model"],
        hold["overdue"],
        view["holds"]["total"],
    )


async def test_a_user_who_never_called_is_shown_with_zeros(control: ControlReads) -> None:
    """Nobody has to exist before a limit is set."""
    view = await user(control, "new")

    assert (None, None, [], [], [0, 0, 0]) == (
        view["tier"],
        view["tier_source"],
        view["budgets"],
        view["holds"]["items"],
        [entry["spend_usd"] for entry in view["windows"]],
    )


async def test_a_users_tier_is_that_of_the_latest_hold_or_event(control: ControlReads) -> None:
    """The app tells it with each call; without any there is none."""
    await control.check("bob", 20, tier="free")
    by_event = await user(control, "bob")
    await control.reserve("bob", 1, tier="pro")
    by_hold = await user(control, "bob")

    assert [("free", "event"), ("pro", "hold")] == [(view["tier"], view["tier_source"]) for view in (by_event, by_hold)]
    assert [10] == [budget["limit_usd"] for budget in by_event["budgets"]]


async def test_a_budget_in_a_new_zone_is_shown_as_it_would_start(control: ControlReads) -> None:
    """What the next decision will see, marked as seeded."""
    await control.check("ann", 2)
    control.rule_set = rules(rule("ann", 3, calendar=Calendar("Asia/Tokyo")))
    (budget,) = (await user(control, "ann"))["budgets"]

    assert (2, True) == (budget["spend_usd"], budget["seeded"])


@pytest.mark.parametrize(
    ("workspace", "acts_as"),
    [({}, "block"), ({"mode": Mode.OBSERVE}, "dry_run"), ({"plan": PlanName.FREE}, None)],
)
async def test_a_budget_tells_how_its_rule_acts_now(
    control: ControlReads, workspace: dict[str, Any], acts_as: str | None
) -> None:
    """In observe a block is a dry run, and below the plan growth nothing acts."""
    control.rule_set = rules(rule("ann", 3), **workspace)
    (budget,) = (await user(control, "ann"))["budgets"]

    assert ("block", acts_as) == (budget["action"], budget["acts_as"])


async def test_unlimited_is_null(control: ControlReads) -> None:
    """Limit, remaining and percent."""
    control.rule_set = rules(rule("ann", None))
    (budget,) = (await user(control, "ann"))["budgets"]

    assert (None, None, None) == (budget["limit_usd"], budget["remaining_usd"], budget["percent"])


async def test_days_are_those_of_the_workspace(control: ControlReads) -> None:
    """35, today last, by local date."""
    control.rule_set = rules(timezone_of_workspace := rule("ann", 3), calendar=Calendar("Pacific/Kiritimati"))
    await control.check("ann", 2)
    status, days = await control.get("users/ann/days")
    _, three = await control.get("users/ann/days", days="3")

    assert timezone_of_workspace.key == days["user_id"]
    assert (200, "Pacific/Kiritimati", 35, 2) == (
        status,
        days["timezone"],
        len(days["items"]),
        days["items"][-1]["spend_usd"],
    )
    assert days["items"][-3:] == three["items"]
    assert days["items"][-1]["day"] > days["items"][-2]["day"]


@pytest.mark.parametrize("days", ["0", "36", "x", "-1"])
async def test_days_are_bounded(control: ControlReads, days: str) -> None:
    """Counters are not kept longer."""
    status, problem = await control.get("users/ann/days", days=days)

    assert (400, "days") == (status, problem["field"])


async def test_usage_is_of_a_user_or_of_a_tier(control: ControlReads) -> None:
    """In short; with neither it says so."""
    await control.check("bob", 2, tier="free")
    await control.check("cyd", 3, tier="free")
    _, of_user = await control.get("usage", user_id="bob", tier="free")
    _, of_tier = await control.get("usage", tier="free")
    status, problem = await control.get("usage")

    assert ([2, 2, 2], [10]) == (
        [entry["spend_usd"] for entry in of_user["windows"]],
        [entry["limit_usd"] for entry in of_user["budgets"]],
    )
    assert ("free", 4, [(5, 2)] * 3) == (
        of_tier["tier"],
        of_tier["revision"],
        [(entry["spend_usd"], entry["calls"]) for entry in of_tier["windows"]],
    )
    assert (400, "user_id") == (status, problem["field"])


async def test_tiers_are_listed_with_and_without_template(control: ControlReads) -> None:
    """Totals over all users; a template nobody used, a tier nobody named, and the users without any."""
    await control.check("bob", 2, tier="seen")
    await control.check("cyd", 3, tier="seen")
    every = await control.items("tiers")
    without = await control.items("tiers", has_template="false")
    named = await control.items("tiers", has_template="true")

    assert [("*", False, 5), ("free", True, 0), ("seen", False, 5)] == [
        (tier["tier"], tier["has_template"], tier["windows"][2]["spend_usd"]) for tier in every
    ]
    assert [["seen"], ["free"]] == [[tier["tier"] for tier in tiers] for tiers in (without, named)]
    assert [control.rule_set.templates["free"][0].id] == named[0]["templates"]
    assert [2, 2, 2] == [window["calls"] for window in without[0]["windows"]]


async def test_tiers_are_paged_by_name(control: ControlReads) -> None:
    """Every tier once, whatever the names."""
    control.rule_set = rules(*[template(name, 1) for name in HOSTILE_NAMES])
    pages = await control.items("tiers", limit="4")
    _, found = await control.get("tiers", q="HYPERLINK")

    assert sorted(HOSTILE_NAMES) == [tier["tier"] for tier in pages]
    assert (["=HYPERLINK(1)"], 1) == ([tier["tier"] for tier in found["items"]], found["total"])


async def test_a_dry_run_report_tells_what_would_have_been_blocked(control: ControlReads) -> None:
    """Calls, users and USD of each rule in its window, the largest first, and their sums."""
    control.rule_set = rules(
        template("free", 1, action=Action.DRY_RUN),
        template("pro", 1, window=DAY, action=Action.DRY_RUN),
        template("off", 1, action=Action.DRY_RUN, status=RuleStatus.DISABLED),
        template("hard", 1),
        *[rule(user_id, 1, action=Action.DRY_RUN) for user_id in DRY_USERS],
    )
    for user_id in ("ann", "bob"):
        await control.check(user_id, 2, tier="free")
        await control.check(user_id, 3, tier="free")
    await control.check("cyd", 4, tier="pro")
    await control.check("dan", 4, tier="hard")
    for user_id in DRY_USERS:
        await control.check(user_id, 2)
    _, report = await control.get("dry-run")

    assert [
        ("free", 4, 2, 10, "month"),
        ("pro", 1, 1, 4, "day"),
        *((user_id, 1, 1, 2, "month") for user_id in DRY_USERS),
    ] == [
        (line["key"], line["calls"], line["users"], line["would_block_usd"], line["window"]) for line in report["items"]
    ]
    assert {0, 1} == {partition_of(user_id, PARTITIONS) for user_id in DRY_USERS}
    assert (10, 24, 7, True, None) == (
        report["calls"],
        report["would_block_usd"],
        report["total"],
        report["complete"],
        report["next_cursor"],
    )


async def test_in_observe_every_block_is_in_the_dry_run_report(control: ControlReads) -> None:
    """The whole workspace runs dry."""
    control.rule_set = rules(template("hard", 1), mode=Mode.OBSERVE)
    await control.check("dan", 4, tier="hard")
    (line,) = await control.items("dry-run")

    assert ("hard", "block", 1, 4) == (line["key"], line["action"], line["calls"], line["would_block_usd"])


async def test_a_dry_run_report_is_paged_and_bounded(control: ControlReads) -> None:
    """With more rules than it reads it says so."""
    dry = [rule(f"user-{number:05d}", 1, action=Action.DRY_RUN) for number in range(MAX_RULES + 1)]
    control.rule_set = rules(*dry[:120])
    lines = await control.items("dry-run")
    control.rule_set = rules(*dry)
    _, report = await control.get("dry-run", cursor=str(MAX_RULES - 1))

    assert [entry.key for entry in dry[:120]] == [line["key"] for line in lines]
    assert (1, MAX_RULES, None, False) == (
        len(report["items"]),
        report["total"],
        report["next_cursor"],
        report["complete"],
    )


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_a_hostile_name_is_a_user_of_its_own(control: ControlReads, name: str) -> None:
    """Found under its own path, counted apart from every other, credited alone."""
    control.rule_set = rules(template(name, 10), rule(f"0:{name}"[:256], 1))
    await control.check(name, 2, tier=name)
    await control.reserve(name, 1, tier=name, request_id=name[:128])
    await control.check("other", 1, tier="other")
    async with control.session.post(
        f"{control.url}/api/v1/{user_path(name, '/adjust')}",
        data=orjson.dumps(CREDIT | {"usd": -0.5, "tier": name, "note": name}),
    ) as response:
        assert response.status == 200, await response.text()
    view = await user(control, name)
    _, tier = await control.get("usage", tier=name)
    spend = SpendReader(control.streams.client, control.streams.workspace, PARTITIONS)
    plan_windows = [
        (name, window.window)
        for window in (await spend.days(name, Calendar("UTC"), now_ms=await spend.store_time_ms()))[-1:]
    ]

    assert (name, name, 1.5, [name[:128]]) == (
        view["user_id"],
        view["tier"],
        view["windows"][0]["spend_usd"],
        [hold["request_id"] for hold in view["holds"]["items"]],
    )
    assert (name, 1.5) == (tier["tier"], tier["windows"][0]["spend_usd"])
    assert [CounterState(nanos(1.5), nanos(1), 2, seeded=False)] == await spend.counters(plan_windows)
