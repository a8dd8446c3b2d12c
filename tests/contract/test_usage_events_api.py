"""`POST /api/events`: what LLM Cost Tracker's SDK sends is priced and charged, and what it tolerates is tolerated."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.breakdown import Dimension, RowKey
from ledger.errors import StoreUnavailable
from ledger.plans import compile_plan
from ledger.price_parsing import parse_price_book
from tests.support.edge import PRICE, Edge, edge_rules, running_edge
from tests.support.ledger_under_test import NOON_MS, nanos

TOKEN = "the-key-of-the-project"
EVENT: dict[str, Any] = {
    "api_key": "whatever",
    "group": "search",
    "user_id": "user-1",
    "tier": "free",
    "prompt_version": "v1",
    "model": "gpt-5",
    "input_tokens": 1200,
    "output_tokens": 350,
    "latency_ms": 12,
}
COST_USD = 0.005


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """A sidecar without tokens, whose prices name no provider, as events do."""
    prices = [{name: value for name, value in PRICE.items() if name != "provider"}]
    async with running_edge(tmp_path, rule_set=replace(edge_rules(), prices=parse_price_book(prices))) as running:
        yield running


async def post(edge: Edge, *, headers: dict[str, str] | None = None, **changes: object) -> tuple[int, Any]:
    """Send an event with some fields changed."""
    return await edge.call("POST", "/api/events", json=EVENT | changes, headers=headers)


async def spend(edge: Edge, user_id: str = "user-1") -> float:
    """Return what a user has spent this month."""
    _, usage = await edge.call("GET", f"/v1/usage/{user_id}?tier=free")
    return float(next(window["spend_usd"] for window in usage["windows"] if window["window"] == "month"))


async def results(edge: Edge) -> dict[str, float]:
    """Return the metric's counts by result."""
    async with edge.session.get(f"{edge.admin_url}/metrics") as response:
        lines = (await response.text()).splitlines()
    name = "spendgate_usage_events_total{result="
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith(name)}


async def test_an_event_is_priced_and_charged(edge: Edge) -> None:
    """To the user, by the price book; the answer tells what it cost."""
    status, charge = await post(edge)
    assert (200, COST_USD, "user-1", "free", "search", "gpt-5", False) == (
        status,
        *(charge[name] for name in ("cost_usd", "user_id", "tier", "group", "model", "unpriced")),
    )
    assert (COST_USD, {"charged": 1.0}) == (await spend(edge), await results(edge))


async def test_every_event_is_another_call(edge: Edge) -> None:
    """It has no id of its own; one is made on receipt."""
    ids = {(await post(edge))[1]["request_id"] for _ in range(3)}
    assert (3, 3 * COST_USD) == (len(ids), await spend(edge))


async def test_an_event_with_an_id_is_charged_once(edge: Edge) -> None:
    """Whoever repeats may send one, and another body under it is told."""
    await post(edge, request_id="e-1")
    _, again = await post(edge, request_id="e-1")
    status, problem = await post(edge, request_id="e-1", output_tokens=351)
    assert (True, 422, "request_mismatch", COST_USD) == (again["replayed"], status, problem["code"], await spend(edge))


async def test_the_limit_does_not_refuse_it(edge: Edge) -> None:
    """A million tokens of output cost more than free has; the next call is blocked."""
    status, _ = await post(edge, output_tokens=1_000_000)
    _, decision = await edge.post("check", {"user_id": "user-1", "tier": "free", "cost_usd": 0.01})
    assert (200, "block") == (status, decision["decision"])


async def test_nobodys_event_counts_for_tier_group_and_model(edge: Edge) -> None:
    """No user is charged."""
    status, charge = await post(edge, user_id=None)
    plan = compile_plan(edge.rules.current, "x", "free", NOON_MS)
    rows = edge.ledger.breakdown(plan.counters[0].window)
    assert (200, None) == (status, charge["user_id"])
    assert [nanos(COST_USD)] * 3 == [
        rows[RowKey.of(dimension, name)].cost_nanos
        for dimension, name in zip(Dimension, ("search", "gpt-5", "free"), strict=True)
    ]
    assert nanos(COST_USD) == edge.ledger.tier_total(plan.tier_windows[0].window, "free").spend_nanos


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "nobody-knows-it"},
        {"model": "unknown"},
        {"input_tokens": None},
        {"output_tokens": None},
        {"input_tokens": None, "output_tokens": None},
    ],
)
async def test_what_has_no_price_is_counted_as_such(edge: Edge, changes: dict[str, object]) -> None:
    """An unknown model, or tokens that the provider did not tell: listed, never a silent zero."""
    status, charge = await post(edge, **changes)
    assert (200, True, 0.0) == (status, charge["unpriced"], charge["cost_usd"])
    assert ["unpriced"] == [event["type"] for event in edge.ledger.events()]
    assert {"unpriced": 1.0} == await results(edge)


@pytest.mark.parametrize(
    ("field", "sent", "kept"),
    [
        ("group", None, None),
        ("group", "", None),
        ("tier", "", None),
        ("user_id", "", None),
        ("user_id", 42, "42"),
        ("group", 7, "7"),
    ],
)
async def test_what_javascript_makes_of_a_name_is_taken(edge: Edge, field: str, sent: object, kept: str | None) -> None:
    """Nothing in all its forms, and numbers where its types say text."""
    status, charge = await post(edge, **{field: sent})
    assert (200, kept) == (status, charge[field])


async def test_fields_that_are_left_out_or_unknown_are_no_fault(edge: Edge) -> None:
    """The next version of the SDK may say more."""
    body = {"model": "gpt-5", "input_tokens": 1200.0, "output_tokens": 350, "trace": {"id": 1}, "latency_ms": "slow"}
    status, charge = await edge.call("POST", "/api/events", json=body)
    assert (200, COST_USD) == (status, charge["cost_usd"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", None),
        ("model", ""),
        ("model", ["gpt-5"]),
        ("user_id", "a\nb"),
        ("user_id", True),
        ("tier", "*"),
        ("group", "g" * 257),
        ("input_tokens", -1),
        ("input_tokens", "12"),
        ("output_tokens", 1.5),
        ("output_tokens", 10**10),
        ("request_id", ""),
    ],
)
async def test_a_bad_event_is_a_400_that_names_the_field(edge: Edge, field: str, value: object) -> None:
    """And nothing is charged."""
    status, problem = await post(edge, **{field: value})
    assert (400, "invalid_field", field) == (status, problem["code"], problem["field"])
    assert (0, {"invalid_field": 1.0}) == (await spend(edge), await results(edge))


@pytest.mark.parametrize("body", [b"[]", b"nonsense", b'"text"', b""])
async def test_what_is_no_event_at_all_is_a_400(edge: Edge, body: bytes) -> None:
    """One object, as JSON or MessagePack."""
    status, problem = await edge.call("POST", "/api/events", data=body, headers={"Content-Type": "application/json"})
    assert (400, "invalid_body") == (status, problem["code"])


async def test_without_the_store_the_journal_keeps_it(edge: Edge) -> None:
    """It is charged when the store is back."""
    edge.ledger.failure = StoreUnavailable("gone")
    status, _ = await post(edge)
    assert 200 == status
    assert {"journaled": 1.0} == await results(edge)


@pytest.mark.parametrize(
    ("api_key", "header", "expected"),
    [
        (TOKEN, None, 200),
        ("wrong", f"Bearer {TOKEN}", 200),
        ("wrong", None, 401),
        (None, None, 401),
        (7, None, 401),
        ("", "Bearer wrong", 401),
        ("wrong\ud800", None, 400),
    ],
)
async def test_where_a_token_is_set_the_key_must_be_it(
    tmp_path: Path, api_key: object, header: str | None, expected: int
) -> None:
    """As `api_key`, which is all that the SDK can send, or as a header."""
    headers = {} if header is None else {"Authorization": header}
    async with running_edge(tmp_path, decision_token=TOKEN) as edge:
        status, _ = await post(edge, headers=headers, api_key=api_key)
    assert expected == status


async def test_the_key_opens_nothing_else(tmp_path: Path) -> None:
    """Decisions need the header all the same."""
    async with running_edge(tmp_path, decision_token=TOKEN) as edge:
        status, _ = await edge.post("check", {"user_id": "u", "cost_usd": 1, "api_key": TOKEN})
    assert 401 == status


async def test_the_key_is_neither_kept_nor_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever becomes of the event."""
    caplog.set_level(logging.DEBUG)
    async with running_edge(tmp_path, decision_token=TOKEN) as edge:
        bodies: list[dict[str, object]] = [{}, {"model": "unheard-of"}, {"tier": "*"}, {"model": None}]
        answers = [await post(edge, api_key=TOKEN, **changes) for changes in bodies]
        told = [str(answers), str(edge.ledger.events()), caplog.text, capsys.readouterr().err]
    assert [False] * 4 == [TOKEN in text for text in told]
