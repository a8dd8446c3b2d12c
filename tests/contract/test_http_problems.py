"""What is no decision over HTTP: bad input, unknown hosts and holds, conflicts, and a store that is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ledger.errors import StoreUnavailable
from tests.support.edge import Edge, running_edge

PUSH_TOKEN = "push-token-of-a-test"
CHECK = {"user_id": "alice", "request_id": "c-1", "cost_usd": 1}
RESERVE = {"user_id": "alice", "request_id": "r-1", "estimate_usd": 2}
NAMED = {"user_id": "alice", "request_id": "r-1"}
PROBLEM_FIELDS = {"type", "title", "status", "detail", "code"}


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


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({**CHECK, "cost_usd": -1}, "invalid_field", "cost_usd"),
        ({**CHECK, "teir": "pro"}, "invalid_field", "teir"),
        ({"cost_usd": 1}, "invalid_field", "user_id"),
        ([CHECK], "invalid_body", None),
    ],
)
async def test_bad_input_is_a_400_that_names_the_field(edge: Edge, body: object, code: str, field: str | None) -> None:
    """A problem has its stable code, and the field if there is one."""
    status, problem = await edge.post("check", body)
    assert (400, code, field) == (status, problem["code"], problem.get("field"))


@pytest.mark.parametrize(
    ("line", "headers", "body", "status", "code"),
    [
        ("GET /nowhere", (), b"", 404, "not_found"),
        ("GET /v1/usage/", (), b"", 404, "not_found"),
        ("GET /v1/check", (), b"", 405, "method_not_allowed"),
        ("POST /v1/check", ("Content-Type: application/json",), b"x" * 5000, 413, "body_too_large"),
        ("POST /v1/check", ("Content-Type: text/plain",), b"{}", 415, "unsupported_media_type"),
        ("POST /v1/check", ("Content-Type: application/json",), b"{", 400, "invalid_body"),
        ("POST /v1/check", ("Content-Type: application/msgpack",), b"\xc1", 400, "invalid_body"),
        ("POST /v1/check", ("Content-Type: application/json", "Content-Encoding: gzip"), b"{}", 400, "invalid_body"),
        ("POST /v1/check", ("Origin: https://page.example",), b"{}", 403, "cross_origin"),
        ("GET /v1/usage/a%0Ab", (), b"", 400, "invalid_field"),
        ("GET /v1/explain", (), b"", 400, "invalid_field"),
        ("GET /v1/explain?user_id=a&tier=*", (), b"", 400, "invalid_field"),
        ("PUT /v1/rules", ("Authorization: Bearer \xff\xfe",), b"{}", 401, "unauthorized"),
    ],
)
async def test_what_is_no_decision_is_a_problem(
    edge: Edge, line: str, headers: tuple[str, ...], body: bytes, status: int, code: str
) -> None:
    """Every refusal is problem+json with the fields of RFC 9457 and a code."""
    found, content_type, problem = await _raw(edge, _request(line, "Host: localhost", *headers, body=body))
    assert (status, "application/problem+json", code) == (found, content_type, problem["code"])
    assert problem.keys() >= PROBLEM_FIELDS


async def test_a_405_names_the_methods_that_are_allowed(edge: Edge) -> None:
    """As RFC 9110 demands."""
    async with edge.session.get(f"{edge.url}/v1/check") as response:
        assert "POST" == response.headers["Allow"]


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:8787", "[::1]:8787", "LOCALHOST"])
async def test_local_names_are_served(edge: Edge, host: str) -> None:
    """With any port, because forwarded ports differ."""
    status, _, _ = await _raw(edge, _request("GET /v1/usage/alice", f"Host: {host}"))
    assert 200 == status


@pytest.mark.parametrize("host", ["page.example", "page.example:8787", "127.0.0.1.page.example", "localhost.example"])
async def test_other_hosts_are_refused(edge: Edge, host: str) -> None:
    """A page that made its own name point here must not get through."""
    status, _, problem = await _raw(edge, _request("GET /v1/usage/alice", f"Host: {host}"))
    assert (421, "bad_host") == (status, problem["code"])


async def test_another_body_under_a_known_id_is_a_422(edge: Edge) -> None:
    """The problem names what differs."""
    await edge.post("check", CHECK)
    status, problem = await edge.post("check", {**CHECK, "cost_usd": 2})
    assert (422, "request_mismatch", "amount") == (status, problem["code"], problem["field"])


async def test_a_counter_beyond_the_cap_is_a_422(edge: Edge) -> None:
    """A sum that numbers could not hold is not begun."""
    await edge.post("check", {"user_id": "carol", "cost_usd": 8_000_000})
    status, problem = await edge.post("check", {"user_id": "carol", "cost_usd": 1})
    assert (422, "counter_overflow") == (status, problem["code"])


@pytest.mark.parametrize("operation", ["settle", "release", "extend"])
async def test_an_unknown_hold_is_a_404(edge: Edge, operation: str) -> None:
    """A settle could say `reserved_at`; the others have nothing to act on."""
    body = {**NAMED, "cost_usd": 1} if operation == "settle" else NAMED
    status, problem = await edge.post(operation, body)
    assert (404, "hold_not_found") == (status, problem["code"])


async def test_a_release_after_a_settle_is_a_409(edge: Edge) -> None:
    """The code says which state is in the way."""
    await edge.post("reserve", RESERVE)
    await edge.post("settle", {**NAMED, "cost_usd": 1})
    status, problem = await edge.post("release", NAMED)
    assert (409, "already_settled") == (status, problem["code"])


async def test_a_moment_beyond_the_retention_is_a_410(edge: Edge) -> None:
    """What nobody can place any more is kept as unattributed."""
    body = {**NAMED, "cost_usd": 1, "reserved_at": "2026-01-29T11:59:59Z"}
    status, problem = await edge.post("settle", body)
    assert (410, "hold_too_old") == (status, problem["code"])


async def test_a_moment_in_the_future_is_a_400(edge: Edge) -> None:
    """No hold was made tomorrow."""
    status, problem = await edge.post("settle", {**NAMED, "cost_usd": 1, "reserved_at": "2026-02-01T12:00:00Z"})
    assert (400, "reserved_at") == (status, problem["field"])


async def test_without_the_store_a_check_is_decided_all_the_same(edge: Edge) -> None:
    """The rules' own choice, marked as degraded, is a 200."""
    edge.ledger.failure = StoreUnavailable("gone")
    status, answer = await edge.post("check", CHECK)
    assert (200, True, "store_unavailable", []) == (status, answer["degraded"], answer["reason"], answer["budgets"])


async def test_without_the_store_a_hold_is_not_extended(edge: Edge) -> None:
    """Nobody knows whether it is open; the caller repeats with the same id."""
    edge.ledger.failure = StoreUnavailable("gone")
    status, problem = await edge.post("extend", NAMED)
    assert (503, "store_unavailable") == (status, problem["code"])


@pytest.mark.parametrize("operation", ["settle", "release"])
async def test_without_the_store_the_end_of_a_hold_is_accepted(edge: Edge, operation: str) -> None:
    """The journal brings it to the store: no known actual is lost. What follows for this call goes behind it."""
    edge.ledger.failure = StoreUnavailable("gone")
    body = {**NAMED, "cost_usd": 1} if operation == "settle" else NAMED
    for failure in (StoreUnavailable("gone"), None):
        edge.ledger.failure = failure
        status, answer = await edge.post(operation, body)
        assert (200, True, "unknown", []) == (status, answer["degraded"], answer["state_before"], answer["budgets"])
        assert ("store_unavailable", False) == (answer["reason"], answer["reconstructed"])


async def test_a_fault_of_ours_is_logged_and_not_told(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    """The caller learns that it is our fault, the log learns why, once."""
    edge.ledger.failure = RuntimeError("inner detail")
    status, problem = await edge.call("GET", "/v1/usage/alice")
    assert (500, "internal", False) == (status, problem["code"], "inner detail" in json.dumps(problem))
    logged = [record for record in caplog.records if record.name == "spendgate.http"]
    assert ["inner detail"] == [str(record.exc_info[1]) for record in logged if record.exc_info]
