"""A key given twice in one object: what is checked, charged and compared with a repeat is the last value only."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest
import pytest_asyncio

from tests.support.edge import Edge, running_edge
from tests.support.raw_caller import Answer, Caller, post

Pairs = Sequence[tuple[str, Any]]
USAGE = {"model": "gpt-5", "input_tokens": 1_000_000, "output_tokens": 0}
CALL = [("user_id", "carol"), ("tier", "pro"), ("request_id", "r-1")]
MSGPACK_TYPE = "Content-Type: application/msgpack"


class Twice(list[tuple[str, Any]]):
    """An object as its pairs of keys and values, in order."""


@pytest_asyncio.fixture(loop_scope="function")
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge with a price for gpt-5: 1.25 USD for a million tokens of input."""
    async with running_edge(tmp_path) as running:
        yield running


def _json(value: Any) -> bytes:
    if isinstance(value, Twice):
        return b"{" + b",".join(orjson.dumps(key) + b":" + _json(each) for key, each in value) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(_json, value)) + b"]"
    return orjson.dumps(value)


def _msgpack(value: Any) -> bytes:
    packer = msgpack.Packer()
    if isinstance(value, Twice):
        parts = (bytes(packer.pack(key)) + _msgpack(each) for key, each in value)
        return bytes(packer.pack_map_header(len(value))) + b"".join(parts)
    if isinstance(value, list):
        return bytes(packer.pack_array_header(len(value))) + b"".join(map(_msgpack, value))
    return bytes(packer.pack(value))


async def _ask(caller: Caller, operation: str, body: Any, *, is_msgpack: bool) -> Answer:
    headers = [MSGPACK_TYPE] if is_msgpack else []
    (answer,) = await caller.ask(post(operation, None, *headers, raw=(_msgpack if is_msgpack else _json)(body)))
    return answer


def _spend(answer: Any) -> float:
    return float(answer["budgets"][0]["spend_usd"])


@pytest.mark.parametrize("is_msgpack", [False, True])
@pytest.mark.parametrize(
    ("more", "spend_usd"),
    [
        ([("cost_usd", 1), ("cost_usd", 3)], 3.0),
        ([("cost_usd", 3), ("cost_usd", 1)], 1.0),
        ([("cost_usd", "nonsense"), ("cost_usd", 2)], 2.0),
        ([("usage", USAGE), ("usage", {**USAGE, "input_tokens": 4_000_000})], 5.0),
        ([("usage", Twice([*USAGE.items(), ("input_tokens", 4_000_000)]))], 5.0),
        ([("usage", Twice([("model", "unknown"), *USAGE.items()]))], 1.25),
    ],
)
async def test_the_last_amount_is_charged(caller: Caller, is_msgpack: bool, more: Pairs, spend_usd: float) -> None:
    """Once; catches a first value that is checked and another that is charged."""
    status, _, answer = await _ask(caller, "check", Twice([*CALL, *more]), is_msgpack=is_msgpack)
    assert (200, True, spend_usd) == (status, answer["allowed"], _spend(answer))


@pytest.mark.parametrize("is_msgpack", [False, True])
@pytest.mark.parametrize(
    ("more", "field"),
    [
        ([("cost_usd", 1), ("cost_usd", -1)], "cost_usd"),
        ([("usage", Twice([*USAGE.items(), ("input_tokens", -1)]))], "usage.input_tokens"),
    ],
)
async def test_a_wrong_last_amount_is_refused(caller: Caller, is_msgpack: bool, more: Pairs, field: str) -> None:
    """However good the first was."""
    status, _, problem = await _ask(caller, "check", Twice([*CALL, *more]), is_msgpack=is_msgpack)
    assert (400, field) == (status, problem["field"])


@pytest.mark.parametrize("is_msgpack", [False, True])
async def test_a_repeat_is_known_by_its_last_values(caller: Caller, is_msgpack: bool) -> None:
    """The same id with the same last amount is a repeat; with another it is refused, and nothing is charged."""
    bodies = [
        Twice([*CALL, ("cost_usd", 9), ("cost_usd", 2)]),
        Twice([*CALL, ("cost_usd", 2)]),
        Twice([*CALL, ("cost_usd", 2), ("cost_usd", 9)]),
    ]
    answers = [await _ask(caller, "check", body, is_msgpack=is_msgpack) for body in bodies]
    assert [200, 200, 422] == [status for status, _, _ in answers]
    assert [(2.0, False), (2.0, True)] == [(_spend(answer), answer["replayed"]) for _, _, answer in answers[:2]]


@pytest.mark.parametrize("is_msgpack", [False, True])
async def test_the_last_values_count_in_entries_of_a_batch(caller: Caller, is_msgpack: bool) -> None:
    """Of the operation, of its amount, and of the user."""
    entry = Twice([("op", "release"), ("user_id", "bob"), *CALL, ("cost_usd", 9), ("op", "check"), ("cost_usd", 2)])
    body = Twice([("operations", []), ("operations", [entry])])
    status, _, answer = await _ask(caller, "batch", body, is_msgpack=is_msgpack)
    (result,) = answer["results"]
    assert (200, "carol", 2.0) == (status, result["user_id"], _spend(result))


async def test_the_last_values_of_a_settle_count(caller: Caller) -> None:
    """What was held is replaced by the last actual."""
    await _ask(caller, "reserve", Twice([*CALL, ("estimate_usd", 40), ("estimate_usd", 7)]), is_msgpack=False)
    settle = Twice([("user_id", "carol"), ("request_id", "r-1"), ("cost_usd", 1), ("cost_usd", 4)])
    await _ask(caller, "settle", settle, is_msgpack=False)
    body = Twice([*CALL[:2], ("request_id", "r-2"), ("cost_usd", 1)])
    _, _, answer = await _ask(caller, "check", body, is_msgpack=False)
    assert 5.0 == _spend(answer)


async def test_the_last_values_of_an_event_count(caller: Caller, edge: Edge) -> None:
    """Also of those that another product's SDK posts."""
    event = {"provider": "openai", "model": "gpt-5", "input_tokens": 1, "output_tokens": 0, "user_id": "carol"}
    body = _json(Twice([*event.items(), ("input_tokens", 4_000_000)]))
    status, charge = await edge.call("POST", "/api/events", data=body, headers={"Content-Type": "application/json"})
    assert (200, 5.0) == (status, float(charge["cost_usd"]))
