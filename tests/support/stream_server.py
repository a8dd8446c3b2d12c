"""A server of streams that misbehaves as it is told, over a fake sidecar; on a thread of its own."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgpack
from spendgate.testing import FakeSidecar
from websockets.asyncio.server import ServerConnection, serve

START_DEADLINE_S = 60.0

Entry = list[Any]
Act = Callable[["StreamServer", ServerConnection, list[Entry]], Any]
"""What is done with the operations of one frame; a coroutine function."""


@dataclass
class StreamServer:
    """`acts` are taken one a frame; afterwards it answers. `asked` are the operations that arrived, in their order."""

    sidecar: FakeSidecar = field(default_factory=FakeSidecar)
    acts: list[Act] = field(default_factory=list)
    asked: list[Entry] = field(default_factory=list)
    frames: int = 0
    connections: int = 0
    url: str = ""
    held_back: list[Entry] = field(default_factory=list)
    is_closed: bool = False
    pongs: int = 0

    async def serve(self, connection: ServerConnection) -> None:
        """Serve one stream."""
        self.connections += 1
        async for frame in connection:
            content = msgpack.unpackb(frame)
            entries = content if isinstance(content[0], list) else [content]
            self.asked += entries
            self.frames += 1
            await (self.acts.pop(0) if self.acts else answer)(self, connection, entries)

    def answers(self, entries: list[Entry]) -> bytes:
        """Return the frame that answers operations."""
        found = []
        for number, name, fields in entries:
            reply = self.sidecar.send(f"/v1/{name}", fields)
            assert reply.document is not None
            problem = {"problem": {**reply.document, "status": reply.status}}
            found.append([number, reply.document if reply.status == 200 else problem])
        packed: bytes = msgpack.packb(found, default=str)
        return packed


async def answer(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Answer as a sidecar does."""
    await connection.send(server.answers(entries))


async def answer_and_close(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Answer, and be gone."""
    await connection.send(server.answers(entries))
    connection.transport.close()
    await connection.wait_closed()
    server.is_closed = True


async def answer_after_a_pong(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Ask first whether anybody is there."""
    await (await connection.ping())
    server.pongs += 1
    await connection.send(server.answers(entries))


async def answer_and_ping(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Answer, and ask whether anybody is there."""
    await connection.send(server.answers(entries))

    def count(_: object) -> None:
        server.pongs += 1

    pong = await connection.ping()
    asyncio.ensure_future(pong).add_done_callback(count)


async def drop(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Break the connection without an answer."""
    connection.transport.abort()


async def cut(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Take the operations, and break the connection in the middle of the answers' frame."""
    data = server.answers(entries)
    connection.transport.write(b"\x82\x7e" + len(data).to_bytes(2, "big") + data[: len(data) // 2])
    connection.transport.close()


async def ignore(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Never answer."""


async def stop(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Refuse as a sidecar does that ends."""
    problem = {"problem": {"status": 503, "code": "stopping", "detail": "nothing was charged"}}
    await connection.send(msgpack.packb([[number, problem] for number, *_ in entries]))


async def talk_nonsense(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Answer with something that is no answer."""
    await connection.send(b"\xc1 no MessagePack")


async def find_it_too_big(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
    """Close as a sidecar does whose bound a frame passes."""
    await connection.close(1009)


def last_first(count: int) -> Act:
    """Return an act that waits for `count` operations and answers them in reverse, one a frame."""

    async def act(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
        server.held_back += entries
        if len(server.held_back) < count:
            server.acts.insert(0, act)
            return
        for entry in reversed(server.held_back):
            await connection.send(server.answers([entry]))

    return act


def first_alone(others: threading.Event) -> Act:
    """Return an act that answers the first of two operations when both have come, and the second when it is told to."""

    async def act(server: StreamServer, connection: ServerConnection, entries: list[Entry]) -> None:
        server.held_back += entries
        if len(server.held_back) < 2:
            server.acts.insert(0, act)
            return
        first, second = server.held_back
        await connection.send(server.answers([first]))
        await asyncio.to_thread(others.wait)
        await connection.send(server.answers([second]))

    return act


@contextlib.contextmanager
def stream_server(*acts: Act, tls: ssl.SSLContext | None = None) -> Iterator[StreamServer]:
    """Serve on a free port of the loopback, with `tls` over it."""
    server = StreamServer(acts=list(acts))
    loop, serves = asyncio.new_event_loop(), threading.Event()
    stopping = asyncio.Event()

    async def run() -> None:
        async with serve(server.serve, "127.0.0.1", 0, ping_interval=None, ssl=tls) as listening:
            server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            serves.set()
            await stopping.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert serves.wait(START_DEADLINE_S), "the server did not start"
        yield server
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
