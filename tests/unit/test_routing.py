"""The way of a command to its server: slots, redirections with an end, one lookup for all who ask."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from redis.exceptions import AskError, MovedError, ReadOnlyError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from ledger.slots import read_owners, slot_of
from ledger.store_url import Address
from ledger.topology import MAX_PAUSES, MAX_REDIRECTIONS, Lookup, Router

OLD: Final = ("old", 1)
NEW: Final = ("new", 2)
USERS_SLOT: Final = slot_of(("GET", "sg:w:{0}:x"))


@pytest.mark.parametrize(
    "words",
    [
        ("GET", "sg:w:{0}:x"),
        ("get", b"sg:w:{0}:x"),
        ("FCALL", "name", 2, "sg:w:{0}:a", "sg:w:{0}:b", "sg:w:{1}:an-argument"),
        ("EVALSHA", "sha", "1", "sg:w:{0}:a"),
        ("XREAD", b"COUNT", 5, b"STREAMS", "sg:w:{0}:events", "0-0"),
        ("XINFO STREAM", "sg:w:{0}:events"),
        ("XINFO", "STREAM", "sg:w:{0}:events"),
    ],
)
def test_a_command_has_the_slot_of_its_key(words: tuple[Any, ...]) -> None:
    """Wherever the key stands in it, and only what stands between braces counts."""
    assert USERS_SLOT == slot_of(words)


@pytest.mark.parametrize("words", [("TIME",), ("CONFIG GET", "appendonly"), ("FCALL", "name", 0, "argument")])
def test_a_command_without_keys_has_no_slot(words: tuple[Any, ...]) -> None:
    """Any server can answer it."""
    assert slot_of(words) is None


def test_a_server_that_does_not_know_its_own_host_is_the_one_that_was_asked() -> None:
    """Clusters behind other addresses tell an empty host or a question mark."""
    reply = [[0, 1, [b"", 7001, b"id"]], [2, 2, [b"n2", 7002, b"id"], [b"replica", 7003, b"id"]]]

    assert {0: ("n1", 7001), 1: ("n1", 7001), 2: ("n2", 7002)} == read_owners(reply, ("n1", 7001))


class FixedTopology:
    """A topology that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    async def address_of(self, slot: int | None) -> Address:
        """Return the old server."""
        return OLD

    async def addresses(self) -> set[Address]:
        """Return the old server."""
        return {OLD}

    def moved(self, slot: int, address: Address) -> None:
        """Note it."""
        self.told.append(("moved", address))

    def doubt(self, address: Address) -> None:
        """Note it."""
        self.told.append(("doubt", address))

    async def aclose(self) -> None:
        """Nothing to do."""


def _answering(*answers: object) -> tuple[Callable[[Address, bool], Awaitable[Any]], list[tuple[Address, bool]]]:
    """Return what sends a command, and whom it asked: errors are raised in turn, the last answer stays."""
    asked: list[tuple[Address, bool]] = []

    async def send(address: Address, asking: bool) -> Any:
        asked.append((address, asking))
        answer = answers[min(len(asked), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return send, asked


async def test_a_moved_slot_is_followed_and_learnt() -> None:
    """The command goes on to where the server points, and the next one goes there at once."""
    topology = FixedTopology()
    send, asked = _answering(MovedError("7 new:2"), "done")

    assert "done" == await Router(topology).run(7, send)
    assert ([(OLD, False), (NEW, False)], [("moved", NEW)]) == (asked, topology.told)


async def test_a_slot_that_moves_is_asked_for_once() -> None:
    """ASK concerns this command alone: it goes behind ASKING, and nothing is learnt."""
    topology = FixedTopology()
    send, asked = _answering(AskError("7 :2"), "done")

    assert "done" == await Router(topology).run(7, send)
    assert ([(OLD, False), (("old", 2), True)], []) == (asked, topology.told)


@pytest.mark.parametrize(
    ("error", "attempts"), [(MovedError("7 new:2"), MAX_REDIRECTIONS), (AskError("7 new:2"), MAX_REDIRECTIONS)]
)
async def test_redirections_end(error: Exception, attempts: int) -> None:
    """Servers that point at each other keep nobody for ever."""
    send, asked = _answering(error)

    with pytest.raises(type(error)):
        await Router(FixedTopology()).run(7, send)
    assert attempts + 1 == len(asked)


@pytest.mark.parametrize("error", [TryAgainError("later"), ReadOnlyError("a replica")])
async def test_a_server_that_cannot_run_it_now_is_asked_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing ran, so it may be sent again; but not for ever, and the topology is told."""
    monkeypatch.setattr("ledger.topology.PAUSE_S", 0)
    topology = FixedTopology()
    once, _ = _answering(error, "done")
    always, asked = _answering(error)

    assert "done" == await Router(topology).run(7, once)
    assert [("doubt", OLD)] == topology.told
    with pytest.raises(type(error)):
        await Router(topology).run(7, always)
    assert MAX_PAUSES + 1 == len(asked)


async def test_a_lost_connection_is_never_sent_again() -> None:
    """The command may have run: only its caller knows whether a repeat is safe."""
    topology = FixedTopology()
    send, asked = _answering(RedisConnectionError("lost"), "done")

    with pytest.raises(RedisConnectionError):
        await Router(topology).run(7, send)
    assert ([(OLD, False)], [("doubt", OLD)]) == (asked, topology.told)


async def test_a_refusal_is_the_answer() -> None:
    """An error of the command itself says nothing about the server."""
    topology = FixedTopology()
    send, asked = _answering(ResponseError("WRONGTYPE"))

    with pytest.raises(ResponseError):
        await Router(topology).run(7, send)
    assert (1, []) == (len(asked), topology.told)


async def test_one_lookup_serves_all_who_ask() -> None:
    """A thousand callers of a failed server ask for its successor once, and one who gives up stops nobody."""
    looks = 0
    found = asyncio.Event()

    async def look() -> int:
        nonlocal looks
        looks += 1
        await found.wait()
        return looks

    lookup = Lookup(look)
    callers = [asyncio.create_task(lookup.result()) for _ in range(100)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.sleep(0)
    found.set()

    assert [1] * 99 == await asyncio.gather(*callers[1:])
    assert 1 == await lookup.result()


async def test_a_lookup_is_repeated_after_its_pause() -> None:
    """What was found may have changed."""
    looks = iter(range(10))

    async def look() -> int:
        return next(looks)

    lookup = Lookup(look, pause_s=0)

    assert [0, 1] == [await lookup.result(), await lookup.result()]
