"""One stream on an event loop. What is asked in one turn of the loop leaves in one frame."""

import asyncio
from typing import Any, Final, cast

from spendgate._exchange import Reply
from spendgate._stream_wire import (
    MAX_FRAME_BYTES,
    MAX_IN_FLIGHT,
    MAX_OPERATIONS,
    Broken,
    Refused,
    StreamWire,
    entry,
)

CLOSE_S: Final = 1.0
"""How long what is still to be sent may take when a connection is closed."""


class AsyncStreamConnection(asyncio.Protocol):
    """An open stream. An answer whose caller was cancelled is read like any other, and dropped."""

    def __init__(self, wire: StreamWire) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._failure: Broken | Refused | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._outbox: list[bytes] = []
        self._next_number = 0
        self._heard_s = 0.0
        self._has_room = asyncio.Event()
        self._is_retired = False

    async def opened(self) -> None:
        """Wait for the handshake; raises `Broken` and `Refused`."""
        await self._opened

    @property
    def is_usable(self) -> bool:
        """It can be asked."""
        return self._failure is None and not self._is_retired

    async def ask(self, operation: bytes, timeout_s: float) -> Reply:
        """Return the answer; raises `Broken`, `Refused` if the sidecar closed it over a frame, and `TimeoutError`."""
        started_s = self._loop.time()
        if len(self._waiting) >= MAX_IN_FLIGHT:
            async with asyncio.timeout(timeout_s):
                await self._wait_for_room()
        if self._failure is not None:
            raise self._failure
        answer = self._start(operation)
        timer = self._loop.call_at(started_s + timeout_s, self._expire, answer, started_s)
        try:
            return await answer
        finally:
            timer.cancel()

    def retire(self) -> None:
        """Take no more operations, and close when those in flight are answered."""
        self._is_retired = True
        if not self._waiting:
            self._end(Broken("its sidecar ends"))

    async def close(self) -> None:
        """Say goodbye, and wait until it is closed."""
        self._wire.close()
        self._write()
        transport, self._transport = self._transport, None
        self._end(Broken("it was closed"))
        if transport is not None:
            transport.close()
            try:
                await asyncio.wait([self._lost], timeout=CLOSE_S)
            finally:
                transport.abort()

    def abort(self) -> None:
        """Give up opening it."""
        self._end(Broken("it was not opened"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        self._transport = cast("asyncio.Transport", transport)
        self._write()

    def data_received(self, data: bytes) -> None:
        """Hand out answers."""
        self._hear(data)

    def eof_received(self) -> None:
        """Take the end like any other; the transport closes itself."""
        self._hear(b"")

    def connection_lost(self, error: Exception | None) -> None:
        """Tell all who wait."""
        self._end(Broken(str(error) if error else "the connection was closed"))
        if not self._lost.done():
            self._lost.set_result(None)

    async def _wait_for_room(self) -> None:
        while len(self._waiting) >= MAX_IN_FLIGHT and self._failure is None:
            self._has_room.clear()
            await self._has_room.wait()

    def _start(self, operation: bytes) -> "asyncio.Future[Reply]":
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting[self._next_number] = answer
        if not self._outbox:
            self._loop.call_soon(self._send_outbox)
        self._outbox.append(entry(self._next_number, operation))
        self._next_number += 1
        return answer

    def _send_outbox(self) -> None:
        if self._failure is not None:
            return
        entries, self._outbox = self._outbox, []
        size, first = 0, 0
        for number, data in enumerate(entries):
            if number > first and (number - first == MAX_OPERATIONS or size + len(data) > MAX_FRAME_BYTES):
                self._wire.ask(entries[first:number])
                size, first = 0, number
            size += len(data)
        self._wire.ask(entries[first:])
        self._write()

    def _write(self) -> None:
        data = self._wire.outgoing()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _hear(self, data: bytes) -> None:
        if self._failure is not None:
            return
        self._heard_s = self._loop.time()
        try:
            replies = self._wire.receive(data)
        except (Broken, Refused) as failure:
            self._end(failure)
            return
        for number, reply in replies:
            answer = self._waiting.pop(number, None)
            if answer is not None and not answer.done():
                answer.set_result(reply)
        if self._wire.is_open and not self._opened.done():
            self._opened.set_result(None)
        self._write()
        self._has_room.set()
        if self._wire.has_ended:
            self._end(self._wire.end())
        elif self._is_retired and not self._waiting:
            self._end(Broken("its sidecar ends"))

    def _expire(self, answer: "asyncio.Future[Reply]", started_s: float) -> None:
        if answer.done():
            return
        _fail(answer, TimeoutError())
        if self._heard_s < started_s:
            self._end(Broken("nothing comes any more"))

    def _end(self, failure: Broken | Refused) -> None:
        if self._failure is not None:
            return
        self._failure = failure
        self._has_room.set()
        for answer in self._waiting.values():
            _fail(answer, failure)
        self._waiting = {}
        _fail(self._opened, failure)
        if self._transport is not None:
            self._transport.abort()


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    """Fail a future; nobody need look at it, for its caller may have been cancelled just now."""
    if not future.done():
        future.set_exception(error)
        future.exception()
