"""Bodies that want to do harm, over real sockets: refused with a code, or read as what they say; nothing is written."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import pytest_asyncio

from tests.support.edge import Edge, running_edge

JSON = "application/json"
MSGPACK = "application/msgpack"
COST = b'{"user_id":"alice","cost_usd":%s}'
NAME = b'{"user_id":"%s","cost_usd":1}'


@pytest_asyncio.fixture(loop_scope="function")
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge over a fresh ledger."""
    async with running_edge(tmp_path) as running:
        yield running


async def _check(edge: Edge, body: bytes, content_type: str = JSON) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": content_type, "Accept": JSON}
    return await edge.call("POST", "/v1/check", data=body, headers=headers)


async def _calls(edge: Edge) -> int:
    calls: int = (await edge.call("GET", "/v1/usage/alice"))[1]["windows"][0]["calls"]
    return calls


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_body"),
        (b"null", "invalid_body"),
        (b"[" * 100_000, "invalid_body"),
        (b"[" * 500 + b"]" * 500, "invalid_body"),
        (b'{"a":' * 100_000, "invalid_body"),
        (b"\xff\xfe{}", "invalid_body"),
        (b"\xef\xbb\xbf{}", "invalid_body"),
        (COST % b"NaN", "invalid_body"),
        (COST % b"Infinity", "invalid_body"),
        (COST % b"1e400", "invalid_body"),
        (COST % b"-1e400", "invalid_body"),
        (COST % b"01", "invalid_body"),
        (COST % b"0x10", "invalid_body"),
        (COST % (b"9" * 5000), "invalid_body"),
        (COST % b"-1", "invalid_field"),
        (COST % b"9007199254740993", "invalid_field"),
        (COST % b"18446744073709551616", "invalid_field"),
        (COST % b"1e308", "invalid_field"),
        (COST % b"1e-10", "invalid_field"),
        (COST % b"5e-324", "invalid_field"),
        (COST % b"true", "invalid_field"),
        (COST % b'"NaN"', "invalid_field"),
        (COST % b'"1e999999999"', "invalid_field"),
        (COST % b'"1_000"', "invalid_field"),
        (COST % ('"' + "9" * 100_000 + '"').encode(), "invalid_field"),
        (COST % '"١٢"'.encode(), "invalid_field"),
        (NAME % b"\\ud800", "invalid_body"),
        (NAME % b"\\udc00\\ud800", "invalid_body"),
        (NAME % b"\xed\xa0\x80", "invalid_body"),
        (NAME % b"\\u0000", "invalid_field"),
        (NAME % b"alice\\u001dbob", "invalid_field"),
        (NAME % b"\\u202ealice", "invalid_field"),
        (NAME % (b"a" * 100_000), "invalid_field"),
        (b'{"user_id":"alice","cost_usd":1,"__proto__":{}}', "invalid_field"),
        (b'{"user_id":"alice","cost_usd":1,"user_id ":"bob"}', "invalid_field"),
        (b'{"user_id":"alice","cost_usd":1,"meta":{"a":{"b":1}}}', "invalid_field"),
        (b'{"user_id":"alice","cost_usd":1,"meta":{"a":18446744073709551616,"b":[]}}', "invalid_field"),
    ],
)
async def test_a_hostile_body_is_refused_and_charges_nothing(edge: Edge, body: bytes, code: str) -> None:
    """It is the caller's fault, told in few words, and no counter moves."""
    status, problem = await _check(edge, body)
    assert (400, code, 0) == (status, problem["code"], await _calls(edge))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000,
        b"\x81\xa1a" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        msgpack.packb({"user_id": "alice", "cost_usd": msgpack.Timestamp(1)}),
        msgpack.packb({"user_id": "alice", "cost_usd": 1}) + b"\x00",
        msgpack.packb({b"user_id": "alice", "cost_usd": 1}),
        msgpack.packb({"user_id": b"alice", "cost_usd": 1}),
        msgpack.packb({"user_id": "alice", "cost_usd": float("nan")}),
        msgpack.packb({"user_id": "alice", "cost_usd": float("-inf")}),
        msgpack.packb({"user_id": "alice", "cost_usd": 2**64 - 1}),
        b"\x82\xa7user_id\xa3\xed\xa0\x80\xa8cost_usd\x01",
    ],
)
async def test_hostile_messagepack_is_refused_and_charges_nothing(edge: Edge, body: bytes) -> None:
    """What JSON could not say has no way in through the other format."""
    status, problem = await _check(edge, body, MSGPACK)
    assert (400, True, 0) == (status, problem["code"] in {"invalid_body", "invalid_field"}, await _calls(edge))


@pytest.mark.parametrize("zero", [b"-0", b"-0.0", b"0e0", b'"0"', b"0.000000000"])
async def test_a_negative_zero_is_zero(edge: Edge, zero: bytes) -> None:
    """It is counted as a call of no cost, and no sign reaches a counter."""
    status, answer = await _check(edge, COST % zero)
    assert (200, "0.0", 1) == (status, str(answer["spend_usd"]), await _calls(edge))


async def test_of_a_field_given_twice_the_last_one_counts(edge: Edge) -> None:
    """As in most readers of JSON; documented, because a proxy before us may see the first."""
    _, answer = await _check(edge, b'{"user_id":"alice","cost_usd":1,"cost_usd":2}')
    assert 2.0 == answer["spend_usd"]


@pytest.mark.parametrize("text", ["8000000", "7999999.999999999", "0.000000001"])
async def test_an_amount_at_its_bounds_is_exact(edge: Edge, text: str) -> None:
    """The largest, the last before it and the smallest come back as they went in."""
    await _check(edge, b'{"user_id":"carol","cost_usd":"%s"}' % text.encode())
    _, usage = await edge.call("GET", "/v1/usage/carol")
    assert float(text) == usage["windows"][0]["spend_usd"]


async def test_a_whole_batch_of_hostile_entries_charges_nothing(edge: Edge) -> None:
    """Each is refused in its place."""
    entries: list[object] = [None, [], 7, "check", {}, {"op": "expire", "user_id": "alice"}, {"op": ["check"]}]
    _, answer = await edge.post("batch", {"operations": entries})
    assert ["invalid_field"] * len(entries) == [result["problem"]["code"] for result in answer["results"]]
    assert 0 == await _calls(edge)
