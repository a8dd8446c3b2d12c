"""Where one request of a connection ends and the next begins, however their bytes arrive; answers keep their order."""

import asyncio
import random
from collections.abc import Callable

import orjson
import pytest

from sidecar.api import connection
from tests.support.edge import Edge
from tests.support.raw_caller import CHECK, DEADLINE_S, Caller, check, post, until_some


async def test_requests_in_one_segment_are_answered_in_order(caller: Caller, quick: list[bytes]) -> None:
    """Pipelined: each waits for the answers before it."""
    await caller.ask(check(0))
    answers = await caller.ask(*[check(number) for number in range(1, 30)])
    assert [f"c-{number:06}" for number in range(1, 30)] == [answer["request_id"] for _, _, answer in answers]
    assert 29 == len(quick)


async def test_a_request_in_pieces_is_put_together(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """A body that follows its head is waited for; a head in pieces is aiohttp's, and the next one is quick again."""
    await caller.ask(check(0))
    for number, cut in ((1, 40), (2, len(check(0)) - 5), (3, len(check(0)) - len(orjson.dumps(CHECK)) - 20)):
        request = check(number)
        caller.writer.write(request[:cut])
        await until_some(edge, lambda each, size=cut: size in (len(each._held), len(each._given or b"")))
        caller.writer.write(request[cut:])
        assert f"c-{number:06}" == (await caller.answer())[2]["request_id"]
    await caller.ask(check(4))
    assert [f"c-{number:06}" for number in (2, 3, 4)] == [orjson.loads(body)["request_id"] for body in quick]


async def test_an_answer_waits_for_those_before_it(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """A settle that comes while a check is under way is answered after it, although the store would be faster."""
    for number in range(2):
        await caller.ask(post("reserve", {"user_id": "alice", "request_id": f"r-{number}", "estimate_usd": 1}))
    settles = [post("settle", {"user_id": "alice", "request_id": f"r-{number}", "cost_usd": 1}) for number in range(2)]
    await caller.ask(settles[0])
    await caller.ask(check(0))
    edge.ledger.gate.close()
    caller.writer.write(check(1))
    await edge.ledger.gate.until_arrived(1)
    caller.writer.write(settles[1])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.reader.readexactly(1), 0.1)
    edge.ledger.gate.open()
    assert ["c-000001", "r-1"] == [(await caller.answer())[2]["request_id"] for _ in range(2)]
    assert 3 == len(quick)


async def test_what_only_looks_like_a_request_is_none(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """A piece of a body, or of a head, that is a known request byte for byte is still a piece: nothing is charged."""
    await caller.ask(check(0))
    outer = post("check", None, raw=b" " * 20 + check(1))
    cut = len(outer) - len(check(1))
    caller.writer.write(outer[:cut])
    await until_some(edge, lambda each: len(each._given or b"") == cut)
    caller.writer.write(outer[cut:])
    assert 400 == (await caller.answer())[0]
    begun = b"POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Piece: "
    assert 0.5 == (await caller.ask(check(2) + begun))[0][2]["spend_usd"]
    caller.writer.write(check(3))
    assert (await asyncio.wait_for(caller.reader.readuntil(b"\r\n"), DEADLINE_S)).startswith(
        (b"HTTP/1.0 400", b"HTTP/1.1 400")
    )
    assert 1 == len(quick)


async def test_a_long_request_makes_a_plain_connection(caller: Caller, quick: list[bytes]) -> None:
    """What aiohttp was given is remembered up to a bound; beyond it the connection is aiohttp's for good."""
    padding = " " * connection.MAX_REMEMBERED_BYTES
    await caller.ask(check(0), check(1))
    assert 200 == (await caller.ask(post("check", None, raw=orjson.dumps(CHECK) + padding.encode())))[0][0]
    assert 200 == (await caller.ask(check(2)))[0][0]
    assert [] == quick


async def test_any_requests_cut_anywhere_are_answered_in_order(edge: Edge, quick: list[bytes]) -> None:
    """Known and unknown heads, reads, wrong bodies, at random, in pieces at random; a failure shows the seed."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    numbers = iter(chance.sample(range(1, 10**6), 12 * 20 * 3))  # None twice: a check's id is no hold's.
    kinds: list[tuple[int, Callable[[int], bytes]]] = [
        (200, check),
        (200, check),
        (200, lambda number: post("check", {**CHECK, "request_id": f"c-{number:06}"}, f"X-Trace: {number}")),
        (400, lambda number: check(number).replace(b"0.25", b"-0.2")),
        (200, lambda _number: b"GET /v1/usage/carol HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, lambda number: post("extend", {"user_id": "carol", "request_id": f"c-{number:06}"})),
    ]
    for _ in range(12):
        caller = await Caller.open(edge)
        await caller.ask(check(0))
        for _ in range(20):
            chosen = [chance.choice(kinds) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
            data = b"".join(make(next(numbers)) for _, make in chosen)
            reading = asyncio.create_task(_read(caller, len(chosen)))
            while data:
                size = chance.choice((1, 60, 250, 1000, 1000))
                caller.writer.write(data[:size])
                data = data[size:]
                await asyncio.sleep(0)
            assert [status for status, _ in chosen] == await reading, seed
        await caller.close()
    assert quick


async def _read(caller: Caller, number: int) -> list[int]:
    return [(await caller.answer())[0] for _ in range(number)]
