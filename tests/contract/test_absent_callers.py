"""Callers that hang up, do not read, or are owed an answer when the sidecar stops: nothing is lost or piles up."""

import asyncio
from pathlib import Path

import pytest

from tests.support.edge import Edge, running_edge
from tests.support.raw_caller import DEADLINE_S, Caller, check, until_some


async def test_a_caller_that_has_gone_is_charged_all_the_same(
    edge: Edge, caller: Caller, quick: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """As by the general way: the decision was made; only its answer has nowhere to go."""
    await caller.ask(check(0))
    edge.ledger.gate.close()
    gone = await Caller.open(edge)
    gone.writer.write(check(1))
    await edge.ledger.gate.until_arrived(1)
    await gone.close()
    await until_some(edge, lambda each: each.transport is None)
    edge.ledger.gate.open()
    assert 0.75 == (await caller.ask(check(2)))[0][2]["spend_usd"]
    assert 2 == len(quick)
    assert [] == [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_stop_lets_what_is_under_way_be_answered(tmp_path: Path, quick: list[bytes]) -> None:
    """The answer arrives, then the connection is closed."""
    async with running_edge(tmp_path) as edge:
        caller = await Caller.open(edge)
        await caller.ask(check(0))
        edge.ledger.gate.close()
        caller.writer.write(check(1) + check(2))
        await edge.ledger.gate.until_arrived(1)
        stopping = asyncio.create_task(edge.listeners.close())
        await asyncio.sleep(0)
        edge.ledger.gate.open()
        assert "c-000001" == (await caller.answer())[2]["request_id"]
        assert b"" == await asyncio.wait_for(caller.reader.read(), DEADLINE_S)
        await stopping
        await caller.close()
    assert 1 == len(quick)


async def test_a_caller_that_does_not_read_is_not_read_either(tmp_path: Path, quick: list[bytes]) -> None:
    """Answers that nobody takes do not pile up: it goes on once they are taken, and none is lost."""
    path = tmp_path / "socket"
    async with running_edge(tmp_path, unix_socket=path) as edge:
        caller = Caller(*await asyncio.open_unix_connection(str(path)))
        await caller.ask(check(0))
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
        requests = 600  # More answers than the kernel's buffer and the transport's hold; in one piece.
        caller.writer.write(b"".join(check(number) for number in range(requests)))
        await until_some(edge, lambda each: each._draining is not None)
        assert 0 < len(quick) < requests
        caller.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answers = [await caller.answer() for _ in range(requests)]
        assert [f"c-{number:06}" for number in range(requests)] == [answer["request_id"] for _, _, answer in answers]
        assert requests == len(quick)
        await caller.close()
