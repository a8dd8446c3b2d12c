"""The lines on which callers ask a sidecar: HTTP, and the stream of the Python SDK, one connection for all of them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp
from spendgate._address import read_address
from spendgate._async_stream import AsyncStreamTransport
from spendgate._async_transport import AsyncTransport
from spendgate._exchange import Exchange, Unreachable

from tests.support.apps import ANSWER_DEADLINE_S, Answer, Body, ask


class Line(Protocol):
    """Asks the sidecar at a URL for one operation; raises `OSError` or `aiohttp.ClientError` without an answer."""

    async def ask(self, url: str, call: str, body: Body) -> Answer:
        """Return the answer; whoever is cancelled meanwhile does not want it any more."""


class HttpLine:
    """One request after the other on each connection: who gives up closes it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, url: str, call: str, body: Body) -> Answer:
        """POST it."""
        return await ask(self._session, f"{url}/v1/{call}", body)


class StreamLine:
    """Everything to a sidecar on one stream, as the SDK opens it: also an answer that nobody waits for comes in."""

    def __init__(self) -> None:
        self._transports: dict[str, AsyncStreamTransport] = {}

    async def ask(self, url: str, call: str, body: Body) -> Answer:
        """Send it in a frame, with what others ask at that moment."""
        if url not in self._transports:
            exchange = Exchange(read_address(url), timeout_s=ANSWER_DEADLINE_S, token=None)
            self._transports[url] = AsyncStreamTransport(exchange, _NoHttp(exchange))
        try:
            reply = await self._transports[url].send(f"/v1/{call}", body)
        except Unreachable as error:
            raise ConnectionError(error.reason) from error
        return Answer(reply.status, dict(reply.document or {}))

    async def hang_up(self) -> None:
        """Close all streams under everybody who is asking; the next call opens a new one."""
        for transport in list(self._transports.values()):
            await transport.close()


class _NoHttp(AsyncTransport):
    """Where a stream would ask over HTTP instead, it gets no answer: nothing is proved of a stream that way."""

    async def send(self, path: str, fields: Any = None) -> Any:
        """Refuse."""
        raise Unreachable(f"the stream did not carry {path}", sent=False)


@contextlib.asynccontextmanager
async def stream_line() -> AsyncIterator[StreamLine]:
    """Provide streams, which are closed at the end."""
    line = StreamLine()
    try:
        yield line
    finally:
        await line.hang_up()
