"""The WebSocket stream over real sockets: frames, answers by id, problems, bounds, a clean close."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgpack
import pytest
import pytest_asyncio

from ledger.errors import StoreUnavailable
from sidecar.api import stream
from tests.support.edge import Edge, running_edge

TOKEN = "decision-token-of-a-test"
CHECK = {"user_id": "alice", "request_id": "c-1", "cost_usd": 1}
FREE = {"user_id": "bob", "tier": "free", "cost_usd": 1}
RESERVE = {"user_id": "alice", "request_id": "r-1", "estimate_usd": 2}
NAMED = {"user_id": "alice", "request_id": "r-1"}
DEADLINE_S = 60


@pytest_asyncio.fixture(loop_scope="function")
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge with small messages."""
    async with running_edge(tmp_path, max_body_bytes=65_536) as running:
        yield running


@contextlib.asynccontextmanager
async def _connected(edge: Edge, **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with edge.session.ws_connect(f"{edge.url}/v1/stream", **options) as socket:
        yield socket


async def _send(socket: aiohttp.ClientWebSocketResponse, frame: object) -> None:
    await socket.send_bytes(msgpack.packb(frame))


async def _answers(socket: aiohttp.ClientWebSocketResponse, count: int) -> dict[int, dict[str, Any]]:
    """Read answers until there are `count`."""
    found: dict[int, dict[str, Any]] = {}
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            for number, answer in msgpack.unpackb(await socket.receive_bytes()):
                assert number not in found
                found[number] = answer
    return found


async def _closed(socket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """Read until the sidecar closes; returns the code and the reason."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                return message.data, message.extra or ""
            assert message.type is aiohttp.WSMsgType.BINARY


async def test_an_answer_is_that_of_the_http_operation(edge: Edge) -> None:
    """The same fields and values, for a check and its replay over HTTP."""
    async with _connected(edge) as socket:
        await _send(socket, [7, "check", CHECK])
        answer = (await _answers(socket, 1))[7]
    _, over_http = await edge.post("check", CHECK)
    assert answer | {"replayed": True} == over_http


async def test_a_hold_lives_and_ends_over_a_stream(edge: Edge) -> None:
    """Every operation is served."""
    async with _connected(edge) as socket:
        for number, (name, body) in enumerate(
            [("reserve", RESERVE), ("extend", {**NAMED, "ttl_s": 60}), ("settle", {**NAMED, "cost_usd": "1.5"})]
        ):
            await _send(socket, [number, name, body])
            answer = (await _answers(socket, 1))[number]
        await _send(socket, [9, "release", NAMED])
        refused = (await _answers(socket, 1))[9]
    assert answer["cost_usd"] == 1.5
    assert refused["problem"]["code"] == "already_settled"


async def test_many_operations_in_one_frame_are_each_answered(edge: Edge) -> None:
    """256 checks, one of them over the limit."""
    entries = [[number, "check", {**FREE, "cost_usd": 0.01}] for number in range(255)]
    async with _connected(edge) as socket:
        await _send(socket, [*entries, [255, "check", {**FREE, "cost_usd": 5.01}]])
        answers = await _answers(socket, 256)
    assert [number for number, answer in answers.items() if not answer["allowed"]] == [255]


async def test_frames_are_answered_while_others_wait(edge: Edge) -> None:
    """A wrong operation is answered though the store has not answered the one before it."""
    gate = edge.ledger.gate
    gate.close()
    async with _connected(edge) as socket:
        await _send(socket, [1, "check", CHECK])
        await _send(socket, [2, "check", {"user_id": "alice"}])
        early = await _answers(socket, 1)
        gate.open()
        late = await _answers(socket, 1)
    assert early[2]["problem"]["field"] == "cost_usd"
    assert late[1]["allowed"]


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("pay", {}, "op"),
        (7, {}, "op"),
        ("batch", {"operations": []}, "op"),
        ("check", {**CHECK, "cost_usd": -1}, "cost_usd"),
        ("check", {**CHECK, "colour": "red"}, "colour"),
        ("settle", {"request_id": "r-1", "cost_usd": 1}, "user_id"),
    ],
)
async def test_a_wrong_operation_names_its_field(edge: Edge, name: object, body: object, field: str) -> None:
    """Nothing is charged, and the stream goes on."""
    async with _connected(edge) as socket:
        await _send(socket, [[1, name, body], [2, "check", CHECK]])
        answers = await _answers(socket, 2)
    assert answers[1]["problem"]["field"] == field
    assert answers[2]["budgets"][0]["spend_usd"] == 1


@pytest.mark.parametrize("body", [None, 7, [], "text"])
async def test_a_body_that_is_no_map_is_a_problem(edge: Edge, body: object) -> None:
    """It has an id, so it is answered."""
    async with _connected(edge) as socket:
        await _send(socket, [1, "check", body])
        assert (await _answers(socket, 1))[1]["problem"]["code"] == "invalid_body"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        msgpack.packb(7),
        msgpack.packb({"id": 1}),
        msgpack.packb([]),
        msgpack.packb([1, "check"]),
        msgpack.packb([True, "check", CHECK]),
        msgpack.packb([-1, "check", CHECK]),
        msgpack.packb([2**53 + 1, "check", CHECK]),
        msgpack.packb(["1", "check", CHECK]),
        msgpack.packb([[1, "check", CHECK], 7]),
        msgpack.packb([[0, "check", CHECK]] * 257),
    ],
)
async def test_a_frame_without_readable_ids_closes_the_stream_and_charges_nothing(edge: Edge, frame: bytes) -> None:
    """With 1007 and a reason; the operations beside the unreadable one are not started."""
    async with _connected(edge) as socket:
        await socket.send_bytes(frame)
        code, reason = await _closed(socket)
    assert (1007, True) == (code, bool(reason))
    _, usage = await edge.call("GET", "/v1/usage/alice")
    assert usage["windows"][0]["calls"] == 0


async def test_text_closes_the_stream(edge: Edge) -> None:
    """Frames are binary."""
    async with _connected(edge) as socket:
        await socket.send_str("[1, 2, 3]")
        assert (await _closed(socket))[0] == 1007


async def test_a_message_beyond_the_bound_closes_the_stream(edge: Edge) -> None:
    """As a body beyond it is refused over HTTP."""
    async with _connected(edge) as socket:
        await socket.send_bytes(b"\x00" * 70_000)
        assert (await _closed(socket))[0] == 1009


async def test_what_is_in_flight_is_answered_before_a_malformed_frame_closes(edge: Edge) -> None:
    """The caller learns of its charges."""
    gate = edge.ledger.gate
    gate.close()
    async with _connected(edge) as socket:
        await _send(socket, [1, "check", CHECK])
        await gate.until_arrived(1)
        await socket.send_bytes(b"\xc1")
        gate.open()
        assert (await _answers(socket, 1))[1]["allowed"]
        assert (await _closed(socket))[0] == 1007


async def test_without_the_store_the_policy_answers(edge: Edge) -> None:
    """As over HTTP."""
    edge.ledger.failure = StoreUnavailable("gone")
    async with _connected(edge) as socket:
        await _send(socket, [1, "check", CHECK])
        answer = (await _answers(socket, 1))[1]
    assert (True, "store_unavailable") == (answer["degraded"], answer["reason"])


async def test_no_more_is_read_while_too_much_is_unanswered(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second frame of a full stream reaches the ledger only after the first is answered."""
    monkeypatch.setattr(stream, "MAX_IN_FLIGHT", 2)
    gate = edge.ledger.gate
    gate.close()
    async with _connected(edge) as socket:
        for number in range(6):
            await _send(socket, [number, "check", {**CHECK, "request_id": f"c-{number}"}])
        await gate.until_arrived(2)
        await edge.call("GET", "/v1/explain?user_id=alice")  # A whole round trip later it is still two.
        assert gate.arrived == 2
        gate.open()
        assert len(await _answers(socket, 6)) == 6


async def test_a_stream_too_many_is_refused(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a problem, not a closed socket; a closed stream makes room."""
    monkeypatch.setattr(stream, "MAX_STREAMS", 1)
    async with _connected(edge):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await edge.session.ws_connect(f"{edge.url}/v1/stream")
        assert refused.value.status == 503
        assert "spendgate_streams 1.0" in await _metrics(edge)
    async with asyncio.timeout(DEADLINE_S):
        while "spendgate_streams 0.0" not in await _metrics(edge):
            pass
    async with _connected(edge) as socket:
        await _send(socket, [1, "check", CHECK])
        assert await _answers(socket, 1)


async def _metrics(edge: Edge) -> str:
    async with edge.session.get(f"{edge.admin_url}/metrics") as response:
        return await response.text()


async def test_a_plain_request_is_a_problem(edge: Edge) -> None:
    """Not a hung connection."""
    status, problem = await edge.call("GET", "/v1/stream")
    assert (400, "not_a_websocket") == (status, problem["code"])


async def test_a_stream_needs_what_a_decision_needs(tmp_path: Path) -> None:
    """A token where one is set, and no Origin."""
    async with running_edge(tmp_path, decision_token=TOKEN) as edge:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await edge.session.ws_connect(f"{edge.url}/v1/stream")
        assert refused.value.status == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await edge.session.ws_connect(f"{edge.url}/v1/stream", headers={**headers, "Origin": "http://localhost"})
        assert refused.value.status == 403
        async with _connected(edge, headers=headers) as socket:
            await _send(socket, [1, "check", CHECK])
            assert (await _answers(socket, 1))[1]["allowed"]


async def _until_refused(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Ask for nothing sensible until the sidecar says that it is stopping."""
    async with asyncio.timeout(DEADLINE_S):
        code = ""
        while code != "stopping":
            await _send(socket, [0, "check", {}])
            code = (await _answers(socket, 1))[0]["problem"]["code"]


async def test_stopping_answers_what_is_in_flight_and_closes(tmp_path: Path) -> None:
    """With 1001; what comes while it stops is refused, and charged nothing."""
    async with aiohttp.ClientSession() as session:
        serving = contextlib.AsyncExitStack()
        edge = await serving.enter_async_context(running_edge(tmp_path))
        gate = edge.ledger.gate
        gate.close()
        socket = await session.ws_connect(f"{edge.url}/v1/stream")
        await _send(socket, [1, "check", CHECK])
        await gate.until_arrived(1)
        stopping = asyncio.create_task(serving.aclose())
        await _until_refused(socket)
        await _send(socket, [2, "check", {**CHECK, "request_id": "c-2"}])
        assert (await _answers(socket, 1))[2]["problem"]["code"] == "stopping"
        gate.open()
        assert (await _answers(socket, 1))[1]["allowed"]
        assert (await _closed(socket))[0] == 1001
        await stopping
        assert gate.arrived == 1


async def test_a_caller_that_goes_does_not_take_its_operations_along(edge: Edge) -> None:
    """What was asked is charged, as over HTTP: the call may be under way."""
    gate = edge.ledger.gate
    gate.close()
    async with _connected(edge) as socket:
        await _send(socket, [1, "check", CHECK])
        await gate.until_arrived(1)
    gate.open()
    calls = 0
    async with asyncio.timeout(DEADLINE_S):
        while not calls:
            _, usage = await edge.call("GET", "/v1/usage/alice")
            calls = usage["windows"][0]["calls"]
    assert calls == 1
