"""The stream to the sidecar on asyncio: one connection for each running loop, opened when it is needed."""

import asyncio
import threading

import httpcore2

from spendgate import _forks
from spendgate._async_stream_connection import AsyncStreamConnection
from spendgate._async_transport import AsyncTransport
from spendgate._exchange import ATTEMPTS, Exchange, Fields, Reply, Unreachable
from spendgate._stream import is_stopping
from spendgate._stream_wire import Broken, HttpInstead, Refused, StreamWire, packed

Opening = asyncio.Task[AsyncStreamConnection]


class AsyncStreamTransport:
    """Operations over one WebSocket; over HTTP what a stream does not carry, and everything while it is refused."""

    def __init__(self, exchange: Exchange, http: AsyncTransport) -> None:
        self._exchange = exchange
        self._http = http
        self._http_instead = HttpInstead()
        self._openings: dict[asyncio.AbstractEventLoop, Opening] = {}
        self._lock = threading.Lock()
        _forks.join(self)

    async def send(self, path: str, fields: Fields | None = None) -> Reply:
        """Ask for an operation, or for what stands at a path; raises `Unreachable`."""
        operation = None if self._http_instead.is_on() else packed(path, fields)
        if operation is None:
            return await self._http.send(path, fields)
        sent = False
        for attempt in range(1, ATTEMPTS + 1):
            connection = await self._connected(sent=sent)
            if connection is None:
                break
            try:
                reply = await connection.ask(operation, self._exchange.timeout_s)
            except TimeoutError:
                raise self._exchange.too_late(sent=True) from None
            except Refused as refusal:
                self._http_instead.begin(refusal)
                break
            except Broken as error:
                sent = True
                if attempt == ATTEMPTS:
                    raise self._exchange.unreachable(error, sent=True) from error
            else:
                if not is_stopping(reply):
                    return reply
                connection.retire()
        return await self._over_http(path, fields, sent=sent)

    async def close(self) -> None:
        """Close the connections of the running loop; the next request opens one anew."""
        with self._lock:
            opening = self._openings.pop(asyncio.get_running_loop(), None)
        try:
            if opening is not None and _is_usable(opening):
                await opening.result().close()
            elif opening is not None and not opening.done():
                opening.cancel()
                await asyncio.wait([opening])
        finally:
            await self._http.close()

    def after_fork(self) -> None:
        """Leave the parent's connections to the parent."""
        self._lock = threading.Lock()
        self._openings = {}

    async def _over_http(self, path: str, fields: Fields | None, *, sent: bool) -> Reply:
        try:
            return await self._http.send(path, fields)
        except Unreachable as error:
            error.sent = error.sent or sent
            raise

    async def _connected(self, *, sent: bool) -> AsyncStreamConnection | None:
        """Return a connection; None if the sidecar serves no stream now. Raises `Unreachable`."""
        opening = self._openings.get(asyncio.get_running_loop())
        if opening is None or (opening.done() and not _is_usable(opening)):
            opening = self._start_opening()
        try:
            return opening.result() if opening.done() else await asyncio.shield(opening)
        except Refused as refusal:
            self._http_instead.begin(refusal)
            return None
        except TimeoutError:
            raise self._exchange.too_late(sent=sent) from None
        except (OSError, Broken) as error:
            raise self._exchange.unreachable(error, sent=sent) from error

    def _start_opening(self) -> Opening:
        loop = asyncio.get_running_loop()
        opening = loop.create_task(self._open())
        opening.add_done_callback(_look_at)
        with self._lock:
            self._openings = {loop: kept for loop, kept in self._openings.items() if not loop.is_closed()}
            self._openings[loop] = opening
        return opening

    async def _open(self) -> AsyncStreamConnection:
        exchange, address = self._exchange, self._exchange.address
        loop = asyncio.get_running_loop()
        connection = AsyncStreamConnection(StreamWire(exchange))
        async with asyncio.timeout(exchange.timeout_s):
            try:
                if address.socket_path is not None:
                    await loop.create_unix_connection(lambda: connection, address.socket_path)
                else:
                    context = httpcore2.default_ssl_context() if address.scheme == "https" else None
                    await loop.create_connection(lambda: connection, address.host, address.port, ssl=context)
                await connection.opened()
            except BaseException:
                connection.abort()
                raise
        return connection


def _is_usable(opening: Opening) -> bool:
    is_open = opening.done() and not opening.cancelled() and opening.exception() is None
    return is_open and opening.result().is_usable


def _look_at(opening: Opening) -> None:
    """Take note of a failure that every caller was cancelled before."""
    if not opening.cancelled():
        opening.exception()
