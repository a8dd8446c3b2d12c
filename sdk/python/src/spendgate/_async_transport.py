"""HTTP to the sidecar on asyncio, for any number of event loops: connections belong to the loop that opened them."""

import asyncio
import threading

import httpcore2

from spendgate import _forks
from spendgate._exchange import ATTEMPTS, FAILURES, Answers, Exchange, Fields, Reply


class AsyncTransport:
    """A pool of kept-alive connections for each running loop. Those of a loop that ended go with it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._pools: dict[asyncio.AbstractEventLoop, httpcore2.AsyncConnectionPool] = {}
        self._lock = threading.Lock()
        _forks.join(self)

    async def send(self, path: str, fields: Fields | None = None) -> Reply:
        """POST `fields`, or GET without any; raises `Unreachable`."""
        pool = self._pools.get(asyncio.get_running_loop()) or self._new_pool()
        failure = None
        for attempt in range(1, ATTEMPTS + 1):
            request = self._exchange.request(path, fields)
            try:
                response = await pool.handle_async_request(request)
                try:
                    return Reply.of_json(response.status, await response.aread())
                finally:
                    await response.aclose()
            except FAILURES as error:
                failure = self._exchange.give_up(attempt, error, failure)
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Close the connections of the running loop; the next request opens one anew."""
        with self._lock:
            pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()

    def after_fork(self) -> None:
        """Leave the parent's connections to the parent."""
        self._lock = threading.Lock()
        self._pools = {}

    def _new_pool(self) -> httpcore2.AsyncConnectionPool:
        pool = httpcore2.AsyncConnectionPool(**self._exchange.pool_options())
        with self._lock:
            self._pools = {loop: kept for loop, kept in self._pools.items() if not loop.is_closed()}
            self._pools[asyncio.get_running_loop()] = pool
        return pool


class Immediate:
    """Lets what answers at once, without waiting, serve the awaiting client."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def send(self, path: str, fields: Fields | None = None) -> Reply:
        """Return the answer."""
        return self._answers.send(path, fields)

    async def close(self) -> None:
        """Do nothing."""
