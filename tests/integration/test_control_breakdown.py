"""What was used by group, model and tier, over HTTP."""

import csv
import io
from collections.abc import AsyncIterator

import pytest

from ledger.breakdown_reader import BreakdownReader
from ledger.decisions import Operation, Settlement
from ledger.keys import PartitionKeys
from ledger.operations import Resolution, sent_text
from ledger.plans import compile_plan
from ledger.windows import Window, WindowType
from tests.support.control_reads import ControlReads, control_reads
from tests.support.ledger_under_test import nanos

DAY_S = 24 * 3600


@pytest.fixture(params=[1, 3])
async def control(valkey_url: str, request: pytest.FixtureRequest) -> AsyncIterator[ControlReads]:
    """The reading half of a control plane, over one partition and over three."""
    async with control_reads(valkey_url, partitions=request.param) as running:
        yield running


async def use(control: ControlReads) -> None:
    """Calls of several users, models, groups and tiers."""
    usage = {"input_tokens": 100, "output_tokens": 10}
    for number in range(4):
        await control.check(f"user-{number}", 1, tier="pro", group="search", model="m-large", **usage)
    await control.check("ann", 0.5, tier="free", group="chat", model="m-small", **usage)
    await control.check("ann", 0.25, unpriced=True, model="unheard-of", **usage)


def names(page: dict[str, list[dict[str, object]]]) -> list[object]:
    """Return the names of a page's rows."""
    return [row["name"] for row in page["items"]]


async def test_rows_add_up_what_all_users_have_used(control: ControlReads) -> None:
    """Calls, tokens, cost, and the cost of a call; the highest cost first, over all partitions."""
    await use(control)
    _, page = await control.get("breakdown", by="group")
    assert [
        {
            "name": "search",
            "kind": "named",
            "calls": 4,
            "input_tokens": 400,
            "output_tokens": 40,
            "cost_usd": 4,
            "average_cost_usd": 1,
            "unpriced_calls": 0,
            "unpriced_usd": 0,
            "share_pct": 84.21,
        },
        ("chat", "named", 0.5),
        ("(none)", "none", 0.25),
    ] == [page["items"][0], *((row["name"], row["kind"], row["cost_usd"]) for row in page["items"][1:])]
    assert (6, 4.75, 1, 0.25, 3) == (
        *(page["sum"][name] for name in ("calls", "cost_usd", "unpriced_calls", "unpriced_usd")),
        page["total"],
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"by": "model"}, ["m-large", "m-small", "unheard-of"]),
        ({"by": "tier"}, ["pro", "free", "(none)"]),
        ({"by": "model", "q": "SMALL"}, ["m-small"]),
        ({"by": "model", "unpriced": "true"}, ["unheard-of"]),
        ({"by": "model", "sort": "name", "order": "asc"}, ["m-large", "m-small", "unheard-of"]),
        ({"by": "model", "sort": "name"}, ["unheard-of", "m-small", "m-large"]),
        ({"by": "model", "sort": "average", "order": "asc"}, ["unheard-of", "m-small", "m-large"]),
        ({"by": "model", "sort": "calls"}, ["m-large", "m-small", "unheard-of"]),
        ({"by": "model", "sort": "tokens", "limit": "1"}, ["m-large"]),
        ({"by": "model", "cursor": "1", "limit": "1"}, ["m-small"]),
    ],
)
async def test_filters_and_orders(control: ControlReads, query: dict[str, str], expected: list[str]) -> None:
    """By any of the three, a part of the name, only what had no price, in every order, page by page."""
    await use(control)
    _, page = await control.get("breakdown", **query)
    assert expected == names(page)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"by": "user"}, "by"),
        ({"days": "0"}, "days"),
        ({"days": "36"}, "days"),
        ({"sort": "price"}, "sort"),
        ({"order": "up"}, "order"),
        ({"unpriced": "yes"}, "unpriced"),
        ({"cursor": "x"}, "cursor"),
        ({"group": "x"}, "group"),
    ],
)
async def test_a_wrong_parameter_is_named(control: ControlReads, query: dict[str, str], field: str) -> None:
    """A mistyped filter must not show everything."""
    status, problem = await control.get("breakdown", **query)
    assert (400, field) == (status, problem["field"])


async def test_a_day_is_shown_as_long_as_it_is_asked_for(control: ControlReads) -> None:
    """The last days of the workspace's zone, today last."""
    now_ms = await control.ledger.store_time_ms()
    plan = compile_plan(control.book().rule_set(), "ann", None, now_ms - 2 * DAY_S * 1000)
    charge = Resolution(
        operation=Operation.RECORD,
        user_id="ann",
        request_id="old",
        amount_nanos=nanos(7),
        sent=sent_text(Operation.RECORD, None, "7", 0),
        reserved_at_ms=now_ms - 2 * DAY_S * 1000 + 60_000,
        plan=plan,
        group="search",
    )
    assert isinstance((await control.ledger.resolve([charge]))[0], Settlement)
    pages = [(await control.get("breakdown", days=str(days)))[1] for days in (1, 2, 3)]
    assert [[], [], ["search"]] == [names(page) for page in pages]


async def test_the_csv_has_a_row_for_each_day_and_name(control: ControlReads) -> None:
    """Exact amounts, names that no spreadsheet runs."""
    await use(control)
    await control.check("ann", 2, group="=1+1")
    _, text = await control.text("breakdown.csv", by="group", days="2")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [("(none)", "0.25"), ("'=1+1", "2.00"), ("chat", "0.50"), ("search", "4.00")] == [
        (row["name"], row["cost_usd"]) for row in rows
    ]
    assert {"group"} == {row["by"] for row in rows}
    assert ["4", "400", "40", "1.00", "0"] == [
        rows[-1][name] for name in ("calls", "input_tokens", "output_tokens", "average_cost_usd", "unpriced_calls")
    ]


async def test_what_a_newer_version_writes_is_left_alone(control: ControlReads) -> None:
    """A field that is no row is about the hash itself."""
    await use(control)
    day = Window(type=WindowType.DAY, start_s=0, end_s=DAY_S)
    keys = PartitionKeys.of(control.streams.workspace, 0)
    await control.streams.client.hset(keys.breakdown(day), mapping={"about": "x", "g/new": "1", "z:x": "1"})
    reader = BreakdownReader(control.streams.client, control.streams.workspace)
    assert [(day, {})] == [entry async for entry in reader.days([day])]
