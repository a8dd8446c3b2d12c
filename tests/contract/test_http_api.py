"""The sidecar's HTTP edge over real sockets: every operation, both formats, both listeners."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgpack
import pytest
import pytest_asyncio

from ledger.errors import StoreUnavailable
from ledger.rules import EMPTY_RULE_SET, Policy, PolicyKind, RuleSet, Workspace
from tests.support.edge import Edge, running_edge
from tests.support.ledger_under_test import nanos, rule

PUSH_TOKEN = "push-token-of-a-test"
MSGPACK = {"Content-Type": "application/msgpack"}
CHECK = {"user_id": "alice", "request_id": "c-1", "cost_usd": 1}
RESERVE = {"user_id": "alice", "request_id": "r-1", "estimate_usd": 2}
NAMED = {"user_id": "alice", "request_id": "r-1"}


@pytest_asyncio.fixture(loop_scope="function")
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge that accepts pushes and small bodies only."""
    async with running_edge(tmp_path, push_token=PUSH_TOKEN, max_body_bytes=4096) as running:
        yield running


async def _raw(edge: Edge, request: bytes) -> tuple[int, str, dict[str, Any]]:
    """Send bytes as they are; returns status, content type and decoded answer."""
    host, port = edge.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    lines = head.decode().split("\r\n")
    content_type = next(line for line in lines if line.lower().startswith("content-type"))
    return int(lines[0].split(" ")[1]), content_type.partition(": ")[2], json.loads(body)


def _request(line: str, *headers: str, body: bytes = b"") -> bytes:
    head = "\r\n".join([f"{line} HTTP/1.1", *headers, f"Content-Length: {len(body)}", "Connection: close"])
    return head.encode("latin-1") + b"\r\n\r\n" + body


async def test_a_check_answers_every_field_of_the_contract(edge: Edge) -> None:
    """The whole answer, with the rule that decided at the top and in the list."""
    terms = {
        "rule_id": edge.rules.current.overrides["alice"][0].id,
        "rule_kind": "user_override",
        "action": "block",
        "limit_usd": 10.0,
        "spend_usd": 1.0,
        "held_usd": 0.0,
        "remaining_usd": 9.0,
        "percent": 10.0,
        "window": "month",
        "window_start": "2026-01-01T00:00:00Z",
        "resets_at": "2026-02-01T00:00:00Z",
        "warning": None,
    }
    expected = {
        "decision": "allow",
        "allowed": True,
        "would_block": False,
        "reason": "under_limit",
        "request_id": "c-1",
        "replayed": False,
        "degraded": False,
        "on_store_failure": "allow",
        "user_id": "alice",
        "tier": "pro",
        **terms,
        "budgets": [{**terms, "outcome": "allow", "seeded": False}],
        "rules_revision": 7,
    }
    assert (200, expected) == await edge.post("check", {**CHECK, "tier": "pro"})


async def test_a_check_without_a_request_id_is_given_one(edge: Edge) -> None:
    """The answer names the id that was made."""
    _, answer = await edge.post("check", {"user_id": "alice", "cost_usd": 1})
    assert 32 == len(answer["request_id"])


async def test_a_block_is_a_200(edge: Edge) -> None:
    """A decision is never an HTTP error."""
    status, answer = await edge.post("check", {**CHECK, "cost_usd": 11})
    assert (200, "block", False, "limit") == (status, answer["decision"], answer["allowed"], answer["reason"])


async def test_a_dry_run_says_that_it_would_block(edge: Edge) -> None:
    """Of two templates the dry run decides, and both are listed."""
    _, answer = await edge.post("check", {"user_id": "bob", "tier": "pro", "cost_usd": 21})
    assert ("dry_run", True, True, 2) == (
        answer["decision"],
        answer["allowed"],
        answer["would_block"],
        len(answer["budgets"]),
    )


async def test_a_user_without_a_rule_has_no_budget(edge: Edge) -> None:
    """Without a rule the fields of one are there, and null."""
    _, answer = await edge.post("check", {"user_id": "carol", "cost_usd": 1})
    assert ("no_rule", None, None, []) == (answer["reason"], answer["rule_id"], answer["limit_usd"], answer["budgets"])


async def test_a_reserve_tells_its_moment_and_its_deadline(edge: Edge) -> None:
    """What a later settle may have to say again."""
    _, answer = await edge.post("reserve", {**RESERVE, "ttl_s": 60})
    assert ("2026-01-31T12:00:00Z", "2026-01-31T12:01:00Z", "open") == (
        answer["reserved_at"],
        answer["expires_at"],
        answer["hold_state"],
    )


async def test_a_held_budget_says_when_to_come_again(edge: Edge) -> None:
    """Where only holds are in the way there is a hint in milliseconds."""
    await edge.post("reserve", {**RESERVE, "estimate_usd": 10})
    _, answer = await edge.post("reserve", {**RESERVE, "request_id": "r-2"})
    assert ("held_capacity", 600_000) == (answer["reason"], answer["retry_after_ms"])


async def test_a_settle_replaces_the_hold(edge: Edge) -> None:
    """The answer tells what was charged and what had been held."""
    await edge.post("reserve", RESERVE)
    _, answer = await edge.post("settle", {**NAMED, "cost_usd": 0.5})
    assert ("settled", "open", 0.5, 2.0, False, 0.0) == (
        answer["hold_state"],
        answer["state_before"],
        answer["cost_usd"],
        answer["estimate_usd"],
        answer["overrun"],
        answer["held_usd"],
    )


async def test_a_settle_above_its_estimate_is_an_overrun(edge: Edge) -> None:
    """The truth is charged in full."""
    await edge.post("reserve", RESERVE)
    _, answer = await edge.post("settle", {**NAMED, "cost_usd": 3})
    assert (True, 3.0, 3.0) == (answer["overrun"], answer["cost_usd"], answer["spend_usd"])


async def test_a_settle_after_a_release_is_late(edge: Edge) -> None:
    """It is accepted: the money is gone all the same."""
    await edge.post("reserve", RESERVE)
    await edge.post("release", NAMED)
    _, answer = await edge.post("settle", {**NAMED, "cost_usd": 1})
    assert ("released", True) == (answer["state_before"], answer["late"])


async def test_a_settle_of_an_unknown_hold_is_reconstructed_by_its_moment(edge: Edge) -> None:
    """With `reserved_at` it is charged to the window of that moment, and is no overrun."""
    body = {**NAMED, "cost_usd": 1, "reserved_at": "2026-01-31T11:00:00Z"}
    _, answer = await edge.post("settle", body)
    assert (True, False, "unknown") == (answer["reconstructed"], answer["overrun"], answer["state_before"])


async def test_a_settle_by_usage_is_priced(edge: Edge) -> None:
    """The pushed price book makes the cost of a usage."""
    await edge.post("reserve", RESERVE)
    usage = {"provider": "openai", "model": "gpt-5", "input_tokens": 1200, "output_tokens": 350}
    _, answer = await edge.post("settle", {**NAMED, "usage": usage})
    assert (0.005, False) == (answer["cost_usd"], answer["unpriced"])


async def test_a_release_gives_the_hold_back(edge: Edge) -> None:
    """Nothing is held, nothing was charged."""
    await edge.post("reserve", RESERVE)
    _, answer = await edge.post("release", NAMED)
    assert ("released", 0.0, 0.0) == (answer["hold_state"], answer["held_usd"], answer["spend_usd"])


async def test_an_extend_tells_the_new_deadline(edge: Edge) -> None:
    """The deadline is now plus `ttl_s`."""
    await edge.post("reserve", RESERVE)
    _, answer = await edge.post("extend", {**NAMED, "ttl_s": 1200})
    assert ("open", "2026-01-31T12:20:00Z") == (answer["hold_state"], answer["expires_at"])


async def test_a_repeated_check_is_a_replay(edge: Edge) -> None:
    """The same id and body give the first answer."""
    _, first = await edge.post("check", CHECK)
    assert (200, {**first, "replayed": True}) == await edge.post("check", CHECK)


async def test_a_batch_is_answered_in_order_with_problems_in_their_places(edge: Edge) -> None:
    """One wrong and one failing entry stop none of the others."""
    entries = [
        {"op": "check", **CHECK},
        {"op": "check", **CHECK, "cost_usd": "much"},
        {"op": "settle", **NAMED, "request_id": "unknown", "cost_usd": 1},
        {"op": "reserve", **RESERVE},
    ]
    _, answer = await edge.post("batch", {"operations": entries})
    found = [result.get("request_id") or result["problem"]["code"] for result in answer["results"]]
    assert ["c-1", "invalid_field", "hold_not_found", "r-1"] == found


async def test_a_wrong_entry_of_a_batch_is_named_by_its_place(edge: Edge) -> None:
    """The field of the problem starts with the entry's index."""
    _, answer = await edge.post("batch", {"operations": [{"op": "check", **CHECK, "cost_usd": -1}]})
    assert "operations[0].cost_usd" == answer["results"][0]["problem"]["field"]


@pytest.mark.parametrize("user_id", ["a/b", "a%2Fb", "a+b", "a b", "ä?ß#", "..", "100%", "//", "日本"])
async def test_any_user_id_can_stand_in_a_path(edge: Edge, user_id: str) -> None:
    """Percent-encoded, every printable character arrives as it was meant."""
    encoded = "".join(f"%{byte:02X}" for byte in user_id.encode())
    _, _, answer = await _raw(edge, _request(f"GET /v1/usage/{encoded}", "Host: localhost"))
    assert user_id == answer["user_id"]


async def test_usage_shows_the_windows_and_the_budgets(edge: Edge) -> None:
    """Day, week and month of the workspace, and what the rule leaves."""
    await edge.post("check", CHECK)
    await edge.post("reserve", RESERVE)
    _, answer = await edge.call("GET", "/v1/usage/alice")
    windows = [(entry["window"], entry["spend_usd"], entry["held_usd"], entry["calls"]) for entry in answer["windows"]]
    assert [("day", 1.0, 2.0, 2), ("week", 1.0, 2.0, 2), ("month", 1.0, 2.0, 2)] == windows
    assert (1, 7.0) == (answer["open_holds"], answer["budgets"][0]["remaining_usd"])


async def test_explain_tells_what_was_skipped_and_why(edge: Edge) -> None:
    """An override replaces both templates of the tier."""
    _, answer = await edge.call("GET", f"/v1/explain?user_id=alice&tier={quote('pro')}")
    assert (["alice"], ["overridden", "overridden"]) == (
        [rule["key"] for rule in answer["rules"]],
        [entry["why"] for entry in answer["skipped"]],
    )


async def test_explain_tells_the_policies_in_the_words_of_a_rule_file(tmp_path: Path) -> None:
    """With their amounts, and as the mode has them, as decisions do."""
    terms = {"on_store_failure": Policy(PolicyKind.AMOUNT, nanos(0.25)), "on_unpriced": Policy(PolicyKind.AMOUNT, 1)}
    rule_set = RuleSet.of(revision=1, workspace=Workspace(), rules=(rule("alice", **terms),))
    async with running_edge(tmp_path, rule_set=rule_set) as edge:
        _, answer = await edge.call("GET", "/v1/explain?user_id=alice")
        _, decision = await edge.post("check", CHECK)
    assert ({"allow_up_to_usd": 0.25}, {"charge_usd": 1e-09}) == (answer["on_store_failure"], answer["on_unpriced"])
    assert decision["on_store_failure"] == answer["on_store_failure"]


async def test_a_messagepack_body_is_answered_in_messagepack(edge: Edge) -> None:
    """The request's own format is the default of the answer's."""
    options = {"data": msgpack.packb(CHECK), "headers": MSGPACK}
    async with edge.session.post(f"{edge.url}/v1/check", **options) as response:
        answer = msgpack.unpackb(await response.read())
    assert ("application/msgpack", "c-1") == (response.content_type, answer["request_id"])


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/msgpack", "application/msgpack"),
        ("application/json;q=0.5, application/msgpack", "application/msgpack"),
        ("application/json, application/msgpack;q=0.9", "application/json"),
        ("text/html, */*;q=0.8", "application/json"),
    ],
)
async def test_accept_chooses_the_format_of_the_answer(edge: Edge, accept: str, expected: str) -> None:
    """By weight; a JSON body is answered in JSON where Accept leaves it open."""
    async with edge.session.post(f"{edge.url}/v1/check", json=CHECK, headers={"Accept": accept}) as response:
        assert expected == response.content_type


async def test_an_accept_that_cannot_be_served_charges_nothing(edge: Edge) -> None:
    """The refusal comes before the operation, not after it."""
    status, problem = await edge.post("check", CHECK, headers={"Accept": "text/html"})
    assert (406, "not_acceptable") == (status, problem["code"])
    _, usage = await edge.call("GET", "/v1/usage/alice")
    assert 0.0 == usage["budgets"][0]["spend_usd"]


async def test_a_unix_socket_serves_decisions(tmp_path: Path) -> None:
    """The same application without a port."""
    path = tmp_path / "s"
    async with (
        running_edge(tmp_path, unix_socket=path),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(path))) as session,
        session.post("http://localhost/v1/check", json=CHECK) as response,
    ):
        assert "allow" == (await response.json())["decision"]


async def test_liveness_asks_nobody(edge: Edge) -> None:
    """The event loop runs, whatever the store does."""
    edge.ledger.failure = StoreUnavailable("gone")
    assert (200, {"status": "ok"}) == await edge.admin("/livez")


async def test_readiness_is_a_rule_set_in_force(edge: Edge) -> None:
    """It never depends on the store."""
    edge.ledger.failure = StoreUnavailable("gone")
    assert (200, {"status": "ok", "rules_revision": 7}) == await edge.admin("/readyz")


async def test_without_a_rule_set_nobody_is_ready(tmp_path: Path) -> None:
    """Traffic waits for the first rules."""
    async with running_edge(tmp_path, rule_set=EMPTY_RULE_SET) as edge:
        status, problem = await edge.admin("/readyz")
    assert (503, "not_ready") == (status, problem["code"])


async def test_metrics_have_the_content_type_of_their_format(edge: Edge) -> None:
    """Prometheus refuses what does not say its version, and a problem is counted under its code."""
    await edge.call("GET", "/nowhere")
    async with edge.session.get(f"{edge.admin_url}/metrics") as response:
        text = await response.text()
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert 'spendgate_problems_total{code="not_found"} 1.0' in text


async def test_the_admin_listener_answers_problems_too(edge: Edge) -> None:
    """An unknown path there is problem+json as well."""
    async with edge.session.get(f"{edge.admin_url}/v1/check") as response:
        assert (404, "application/problem+json") == (response.status, response.content_type)
