"""Credits and corrections over HTTP: what they change, what is refused, and what is named."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from controlplane.adjusting import MAX_NOTE_LENGTH
from ledger.audit import audit_store
from ledger.keys import PartitionKeys, partition_of
from ledger.rules import Action
from ledger.windows import WindowType, rfc3339
from tests.support.control_reads import ControlReads, control_reads
from tests.support.ledger_under_test import rule, rules, template

DAY = WindowType.DAY
PARTITIONS = 2
CREDIT = {"request_id": "credit-1", "usd": "-1.50", "note": "refund of a broken answer"}


@pytest.fixture
async def control(store_url: str) -> AsyncIterator[ControlReads]:
    """A control plane with a template of 10 USD a month for free and an override of 3 USD a day for ann."""
    async with control_reads(store_url, partitions=PARTITIONS) as control:
        control.rule_set = rules(
            template("free", 10), rule("ann", 3, window=DAY, action=Action.WARN, thresholds_pct=(50, 80)), revision=4
        )
        yield control


async def test_a_credit_changes_what_was_spent_and_is_logged(control: ControlReads, store_url: str) -> None:
    """The answer tells the windows, the log who and why, and the audit agrees."""
    await control.check("bob", 4, tier="free")
    status, adjusted = await control.post("users/bob/adjust", CREDIT | {"tier": "free"})
    again_status, again = await control.post("users/bob/adjust", CREDIT | {"tier": "free"})
    (event,) = await control.items("events", type="adjusted")
    _, tier = await control.get("usage", tier="free")
    report = await audit_store(store_url, control.streams.workspace)

    assert (200, -1.5, [2.5] * 3, False) == (
        status,
        adjusted["usd"],
        [window["spend_usd"] for window in adjusted["windows"]],
        adjusted["replayed"],
    )
    assert (200, adjusted | {"replayed": True}) == (again_status, again)
    assert ("bob", -1.5, {"actor": "", "note": CREDIT["note"]}) == (
        event["user_id"],
        event["amount_usd"],
        event["meta"],
    )
    assert [2.5] * 3 == [window["spend_usd"] for window in tier["windows"]]
    assert [] == report.differences


async def test_an_adjustments_record_outlives_the_counters_it_changed(control: ControlReads) -> None:
    """70 days: a retry is never a second credit while its window is kept."""
    await control.post("users/bob/adjust", CREDIT | {"usd": 1})
    keys = PartitionKeys.of(control.streams.workspace, partition_of("bob", PARTITIONS))
    left_ms = await control.streams.client.pttl(keys.request("bob", CREDIT["request_id"]))

    assert timedelta(days=69) < timedelta(milliseconds=left_ms) <= timedelta(days=70)


async def test_a_credit_may_be_of_an_earlier_day(control: ControlReads) -> None:
    """`at` says when the money was spent."""
    now_ms = await control.ledger.store_time_ms()
    status, _ = await control.post(
        "users/bob/adjust", {"request_id": "a", "usd": 2, "note": "forgotten", "at": "2020-01-01T00:00:00Z"}
    )
    assert 400 == status
    status, _ = await control.post("users/bob/adjust", {"request_id": "a", "usd": 2, "note": "x", "at": iso(now_ms)})
    assert 200 == status


def iso(time_ms: int) -> str:
    """Return a moment one minute before a time."""
    return rfc3339(time_ms - 60_000)


async def test_a_credit_beyond_the_spend_is_refused(control: ControlReads) -> None:
    """With the window and what is possible."""
    await control.check("bob", 1)
    status, problem = await control.post("users/bob/adjust", CREDIT)

    assert (422, "credit_exceeds_spend", "usd") == (status, problem["code"], problem["field"])
    assert "at most 1.00" in problem["detail"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"usd": None}, "usd"),
        ({"usd": 0}, "usd"),
        ({"usd": "-0"}, "usd"),
        ({"usd": True}, "usd"),
        ({"usd": "--1"}, "usd"),
        ({"usd": "-+1"}, "usd"),
        ({"usd": "1e400"}, "usd"),
        ({"usd": "-0.0000000001"}, "usd"),
        ({"usd": -8_000_000.5}, "usd"),
        ({"usd": [1]}, "usd"),
        ({"request_id": None}, "request_id"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"note": None}, "note"),
        ({"note": " \n"}, "note"),
        ({"note": 5}, "note"),
        ({"note": "x" * (MAX_NOTE_LENGTH + 1)}, "note"),
        ({"tier": "*"}, "tier"),
        ({"tier": ""}, "tier"),
        ({"at": "now"}, "at"),
        ({"at": "2999-01-01T00:00:00Z"}, "at"),
        ({"noet": "typo"}, "noet"),
    ],
)
async def test_a_wrong_field_of_an_adjustment_is_named(
    control: ControlReads, changes: dict[str, Any], field: str
) -> None:
    """And nothing is written."""
    status, problem = await control.post("users/ann/adjust", CREDIT | {"usd": 1} | changes)

    assert (400, "invalid_field", field) == (status, problem["code"], problem["field"])
    assert [] == await control.items("events", type="all")


@pytest.mark.parametrize("body", [[], "x", None, 1])
async def test_a_body_that_is_no_object_is_refused(control: ControlReads, body: object) -> None:
    """As such."""
    status, problem = await control.post("users/ann/adjust", body)

    assert (400, "invalid_body") == (status, problem["code"])


async def test_a_body_that_is_no_json_is_refused(control: ControlReads) -> None:
    """As such."""
    async with control.session.post(f"{control.url}/api/v1/users/ann/adjust", data=b"{") as response:
        assert (400, "invalid_body") == (response.status, (await response.json(content_type=None))["code"])
