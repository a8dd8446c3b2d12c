"""One connection over servers that behave badly on purpose."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import hiredis
import pytest
import redis.asyncio
from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from ledger import script_connection
from ledger.script_connection import ScriptConnection

TURNS_TO_ACCEPT = 10
"""Turns of the loop in which a connection that the kernel has accepted reaches `serve`."""
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served_by(*behaviours: Serve) -> AsyncIterator[ScriptConnection]:
    """Yield a connection to a server that treats its first caller by the first of `behaviours`, and so on."""
    left = list(behaviours)
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await (left.pop(0) if len(left) > 1 else left[0])(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = redis.asyncio.Redis(port=port, protocol=2, driver_info=None)  # so that nothing is asked first
    connection = ScriptConnection(client)
    try:
        yield connection
    finally:
        await connection.aclose()
        await client.aclose()
        server.close()
        for _ in range(TURNS_TO_ACCEPT):
            await asyncio.sleep(0)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


def answering(text: bytes) -> Serve:
    """Return a behaviour: each command is answered by `text`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(text)

    return serve


async def _fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(b"+fine\r\n" * data.count(b"PING"))


async def _deaf(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        pass


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.close()


async def test_after_a_command_that_was_given_up_the_next_has_a_connection_of_its_own() -> None:
    """A reply that comes late must not be taken for the next command's."""
    async with served_by(_deaf, answering(b"+second\r\n")) as connection, asyncio.timeout(60):
        waiting = asyncio.create_task(connection.execute_command("PING"))
        while connection._link is None or not connection._link._pending:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert b"second" == await connection.execute_command("PING")


@pytest.mark.parametrize(
    "behaviour", [_hangs_up, answering(b"!this is no protocol\r\n"), answering(b"+one\r\n+two nobody asked for\r\n")]
)
async def test_a_server_out_of_step_is_left(behaviour: Serve) -> None:
    """Those who wait learn of the loss, and nothing that it said is believed afterwards."""
    async with served_by(behaviour, answering(b"+fine\r\n")) as connection, asyncio.timeout(60):
        await asyncio.gather(*[connection.execute_command("PING") for _ in range(2)], return_exceptions=True)
        with contextlib.suppress(RedisConnectionError):
            await connection.execute_command("PING")
        assert b"fine" == await connection.execute_command("PING")


async def test_a_reply_that_never_comes_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even of a caller who waits without a bound of its own."""
    monkeypatch.setattr(script_connection, "REPLY_LIMIT_S", 0.05)
    async with served_by(_deaf) as connection, asyncio.timeout(60):
        with pytest.raises(RedisConnectionError, match="no reply"):
            await connection.execute_command("PING")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"-NOSCRIPT No matching script.\r\n", NoScriptError),
        (b"-LOADING Redis is loading the dataset in memory\r\n", BusyLoadingError),
        (b"-ERR Function not found\r\n", ResponseError),
    ],
)
async def test_errors_are_those_of_the_client_library(text: bytes, error: type[Exception]) -> None:
    """The ledger tells them apart."""
    async with served_by(answering(text)) as connection, asyncio.timeout(60):
        with pytest.raises(error):
            await connection.execute_command("PING")


async def test_a_command_is_sent_at_once_only_over_a_connection_that_is_there() -> None:
    """Nothing is sent where it would have to wait; a reply is told, and so is a loss."""
    packed, heard = hiredis.pack_command(("PING",)), list[object]()
    async with served_by(_fine) as connection, asyncio.timeout(60):
        assert connection.start(packed, heard.append) is None
        await connection.execute_command("PING")
        give_up = connection.start(packed, heard.append)
        assert give_up is not None
        assert [] == heard
        assert b"fine" == await connection.execute_command("PING")
        assert [b"fine"] == heard
        give_up = connection.start(packed, heard.append)
        assert give_up is not None
        give_up(TimeoutError("too slow"))
        assert [b"fine", RedisConnectionError] == [heard[0], type(heard[1])]
        assert connection.start(packed, heard.append) is None
        assert b"fine" == await connection.execute_command("PING")
    assert 2 == len(heard)


async def test_whoever_fails_to_hear_a_reply_costs_the_others_nothing() -> None:
    """A bug there must not end the connection."""

    def fail(_reply: object) -> None:
        raise IndexError("a bug")

    async with served_by(_fine) as connection, asyncio.timeout(60):
        await connection.execute_command("PING")
        link = connection._link
        connection.start(hiredis.pack_command(("PING",)), fail)
        assert b"fine" == await connection.execute_command("PING")
        assert link is connection._link


async def test_a_reply_in_pieces_is_put_together() -> None:
    """However the network cuts it."""

    async def in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            for byte in b"*2\r\n$2\r\nok\r\n:7\r\n":
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

    async with served_by(in_pieces) as connection, asyncio.timeout(60):
        assert [[b"ok", 7]] * 3 == [await connection.execute_command("PING") for _ in range(3)]


async def test_one_timer_watches_a_connection_however_many_commands_it_has_carried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches a timer for every command, which would pile up for as long as the limit is, and go on for ever."""
    monkeypatch.setattr(script_connection, "REPLY_LIMIT_S", 0.05)
    watches: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def noting(delay: float, callback: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
        handle = call_later(delay, callback, *arguments)
        if getattr(callback, "__name__", "") == "_give_up":
            watches.append(handle)
        return handle

    monkeypatch.setattr(loop, "call_later", noting)
    async with served_by(answering(b"+fine\r\n")) as connection, asyncio.timeout(60):
        end = loop.time() + 0.3
        commands = 0
        while loop.time() < end:
            await connection.execute_command("PING")
            commands += 1
            waiting = [watch for watch in watches if not watch.cancelled() and watch.when() > loop.time()]
            assert 1 >= len(waiting)
    assert commands > len(watches)
