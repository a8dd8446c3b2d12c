"""A TCP proxy in front of a store: it loses replies on their way back, or parts the two sides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import urlsplit

CHUNK_BYTES: Final = 65536
TURNS_TO_CLOSE: Final = 10
"""Turns of the loop in which an accepted connection is known, and a closed one is gone."""

Fate = Callable[[bytes], bytes | None]
"""What becomes of the bytes of a reply: passed on, changed, shortened (then the connection is cut), or None: swallowed.

After a swallowed reply the connection stays open and silent, as a partition leaves it: TCP never loses bytes and
delivers those behind them.
"""


def deliver(reply: bytes) -> bytes | None:
    """Let every reply through."""
    return reply


def swallow(_reply: bytes) -> bytes | None:
    """Let no reply through, and keep the connection open."""
    return None


def cut_in_the_middle(reply: bytes) -> bytes | None:
    """Let half of a reply through; the connection ends there."""
    return reply[: len(reply) // 2]


class StoreProxy:
    """Forwards commands unchanged; `fate` decides about replies and may be changed at any moment.

    The target is ``unix://`` and a path, or ``redis://`` with a host and a port, where nothing need listen yet.
    `lost` counts the replies that did not arrive whole. `on_command` sees what callers send, as it comes in. `delay`
    says for how many seconds a reply is held back, and with it those behind it on its connection. `concerns` says
    which commands have replies that `fate` is asked about, by the last that came in on a connection; else all of them.
    """

    def __init__(self, target_url: str) -> None:
        self._target = urlsplit(target_url)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._joined = asyncio.Event()
        self._joined.set()
        self.fate: Fate = deliver
        self.on_command: Callable[[bytes], None] = lambda _data: None
        self.delay: Callable[[], float] = lambda: 0.0
        self.concerns: Callable[[bytes], bool] = lambda _command: True
        self.lost = 0
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["StoreProxy"]:
        """Listen on a free loopback port; every connection has ended on leaving."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.url = f"redis://{host}:{port}"
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            await self._end()

    async def _end(self) -> None:
        """End every connection, also those that are still on their way into `_accept`, or whose peer does not read."""
        turns_left = TURNS_TO_CLOSE
        while turns_left:
            turns_left = TURNS_TO_CLOSE if self._tasks else turns_left - 1
            for task in self._tasks:
                if not task.cancelling():  # Else it is closing what it has.
                    task.cancel()
            while not self._tasks and self._writers:
                self._writers.pop().transport.abort()  # One that is only closed waits until all is read.
            await asyncio.sleep(0)

    def part(self) -> None:
        """Let nothing through in either direction; what is sent meanwhile waits, as packets that are sent again do."""
        self._joined.clear()

    def join(self) -> None:
        """End a partition: everything that waits arrives, also what its sender has given up since."""
        self._joined.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        self._writers.add(writer)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _task: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            store_reader, store_writer = await self._connect()
        except OSError:  # The store is gone: so is this connection, as a refused one.
            return
        last = [b""]
        self._writers.add(store_writer)
        ways = {
            asyncio.create_task(self._forward(reader, store_writer, last)),
            asyncio.create_task(self._return(store_reader, writer, last)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            store_writer.close()  # Before anything that could be cancelled.
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.scheme == "unix":
            return await asyncio.open_unix_connection(self._target.path)
        return await asyncio.open_connection(self._target.hostname, self._target.port)

    async def _return(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, last: list[bytes]) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._joined.wait()
            if held_back_s := self.delay():
                await asyncio.sleep(held_back_s)
            passed = self.fate(data) if self.concerns(last[0]) else data
            if passed is None:
                await self._swallow_all(data, reader)
                return
            writer.write(passed)
            await writer.drain()
            if len(passed) < len(data):
                self.lost += 1
                return

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, last: list[bytes]) -> None:
        while data := await reader.read(CHUNK_BYTES):
            last[0] = data
            self.on_command(data)
            await self._joined.wait()
            writer.write(data)
            await writer.drain()

    async def _swallow_all(self, data: bytes, reader: asyncio.StreamReader) -> None:
        while data:
            self.lost += 1
            data = await reader.read(CHUNK_BYTES)
