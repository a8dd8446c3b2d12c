"""Usage events that come to the control plane: charged as in a sidecar, by whoever may send them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from controlplane.auth import MAX_FAILURES
from ledger.audit import audit_store
from tests.support.control_plane import (
    EVENTS_TOKEN,
    PUSH_TOKEN,
    READ_TOKEN,
    TOKENS,
    WRITE_TOKEN,
    Answer,
    ControlPlane,
    control_plane,
)

EVENT: dict[str, Any] = {
    "api_key": "whatever",
    "group": "search",
    "user_id": "ann",
    "tier": "free",
    "model": "m",
    "input_tokens": 1_000_000,
    "output_tokens": 1_000_000,
}
PRICES = [{"model": "m", "input_usd_per_million": 1, "output_usd_per_million": 2}]


@pytest_asyncio.fixture(loop_scope="function")
async def guarded(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane with a token for each scope."""
    async with control_plane(valkey_url, **TOKENS) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="function")
async def control(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane for this machine, with one price."""
    async with control_plane(valkey_url) as running:
        assert 200 == (await running.call("PUT", "/api/v1/prices", PRICES)).status
        yield running


async def post(control: ControlPlane, *, token: str | None = None, **changes: object) -> Answer:
    """Send an event with some fields changed."""
    return await control.call("POST", "/api/events", EVENT | changes, token=token)


async def test_an_event_is_priced_charged_and_shown(control: ControlPlane, valkey_url: str) -> None:
    """On the user's page, in the breakdown, and in an audit without a difference."""
    answers = [await post(control), await post(control, user_id=None), await post(control, model="unheard-of")]
    assert [(200, 3, False), (200, 3, False), (200, 0, True)] == [
        (answer.status, answer.document["cost_usd"], answer.document["unpriced"]) for answer in answers
    ]
    usage = (await control.call("GET", "/api/v1/usage?user_id=ann&tier=free")).document
    rows = (await control.call("GET", "/api/v1/breakdown?by=model")).document["items"]
    assert {3} == {window["spend_usd"] for window in usage["windows"]}
    assert [("m", 2, 6), ("unheard-of", 1, 0)] == [(row["name"], row["calls"], row["cost_usd"]) for row in rows]
    assert [] == (await audit_store(valkey_url, control.workspace)).differences


async def test_an_event_with_an_id_is_charged_once(control: ControlPlane) -> None:
    """And another body under it is a mismatch."""
    answers = [await post(control, request_id="e-1") for _ in range(2)]
    other = await post(control, request_id="e-1", output_tokens=7)
    assert [False, True] == [answer.document["replayed"] for answer in answers]
    assert (422, "request_mismatch") == (other.status, other.code)


@pytest.mark.parametrize("field", ["model", "user_id", "tier", "group", "input_tokens", "output_tokens"])
async def test_a_bad_event_names_its_field(control: ControlPlane, field: str) -> None:
    """As in the sidecar: both read events with the same code."""
    answer = await post(control, **{field: [1]})
    assert (400, field) == (answer.status, answer.document["field"])


async def test_a_cost_beyond_the_cap_is_refused(control: ControlPlane) -> None:
    """No call costs that much; nothing is written."""
    dear = [{"model": "m", "input_usd_per_million": 8_000_000, "output_usd_per_million": 8_000_000}]
    await control.call("PUT", "/api/v1/prices", dear)
    assert (400, "output_tokens") == ((await post(control)).status, (await post(control)).document["field"])


@pytest.mark.parametrize(
    ("expected", "token", "api_key"),
    [
        (200, None, EVENTS_TOKEN),
        (200, None, WRITE_TOKEN),
        (200, EVENTS_TOKEN, "whatever"),
        (403, None, READ_TOKEN),
        (403, None, PUSH_TOKEN),
        (403, READ_TOKEN, EVENTS_TOKEN),
        (401, None, "wrong"),
        (401, None, None),
        (401, "wrong-token-of-a-test", EVENTS_TOKEN),
    ],
)
async def test_who_may_send_events(guarded: ControlPlane, expected: int, token: str | None, api_key: object) -> None:
    """Whose token has the scope, as header or as the key of the event; the header counts first."""
    assert expected == (await post(guarded, token=token, api_key=api_key)).status


async def test_guessing_keys_has_a_limit(guarded: ControlPlane) -> None:
    """The same as guessing tokens."""
    answers = [await post(guarded, api_key=f"guess-{number}") for number in range(MAX_FAILURES + 1)]
    assert [401] * MAX_FAILURES + [429] == [answer.status for answer in answers]


async def test_an_events_token_opens_no_session(guarded: ControlPlane) -> None:
    """Apps carry it: it must not open the page."""
    assert 403 == (await guarded.call("POST", "/api/v1/session", {"token": EVENTS_TOKEN})).status
