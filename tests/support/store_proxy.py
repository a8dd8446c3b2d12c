"""A TCP proxy in front of a store on a Unix socket that loses replies on their way back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

CHUNK_BYTES: Final = 65536

Fate = Callable[[bytes], bytes | None]
"""What becomes of the bytes of a reply: passed on, shortened (then the connection is cut), or None: swallowed.

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

    `lost` counts the replies that did not arrive whole.
    """

    def __init__(self, target_url: str) -> None:
        self._target = target_url.removeprefix("unix://")
        self._tasks: set[asyncio.Task[None]] = set()
        self.fate: Fate = deliver
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
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_unix_connection(self._target)
        ways = {
            asyncio.create_task(_forward(reader, store_writer)),
            asyncio.create_task(self._return(store_reader, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, store_writer):
                end.close()

    async def _return(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            passed = self.fate(data)
            if passed is None:
                await self._swallow_all(data, reader)
                return
            writer.write(passed)
            await writer.drain()
            if passed != data:
                self.lost += 1
                return

    async def _swallow_all(self, data: bytes, reader: asyncio.StreamReader) -> None:
        while data:
            self.lost += 1
            data = await reader.read(CHUNK_BYTES)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
