"""A connection of the decision listener: aiohttp's own, but for requests with a known head, which it never sees.

aiohttp reads a request, makes an object of it, wakes the connection's task and starts another one for the handler. A
request with a known head (`sidecar.api.quick_answers`) is answered from here, without a task, as long as it begins
where a request begins and everything before it was answered. This leans on attributes of aiohttp's connection that are
its own; the lock file pins its version.
"""

import asyncio
from typing import Any, Final

from aiohttp import web

from sidecar.api.quick_answers import QuickAnswers

HEAD_END: Final = b"\r\n\r\n"
MAX_REMEMBERED_BYTES: Final = 65_536
"""A request that is longer makes its connection a plain one of aiohttp's from then on."""


class DecisionServer(web.Server):
    """Makes the connections of a listener in the place of another server."""

    def __init__(self, server: web.Server, answers: QuickAnswers) -> None:
        super().__init__(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            **server._kwargs,  # noqa: SLF001 - see the module
        )
        self._answers = answers

    def __call__(self) -> "DecisionConnection":
        """Make a connection."""
        return DecisionConnection(self, self._answers, loop=self._loop, **self._kwargs)


class DecisionConnection(web.RequestHandler):
    """See the module.

    `_given` is what aiohttp was given of the request under way, empty between two requests, and None once it is not
    known where one begins. `_held` waits until what is under way is answered, or is a request that is not whole yet.
    """

    __slots__ = ("_answers", "_draining", "_given", "_held", "_is_answering")

    def __init__(self, server: web.Server, answers: QuickAnswers, **options: Any) -> None:
        super().__init__(server, **options)
        self._answers = answers
        self._given: bytes | None = b""
        self._held = b""
        self._is_answering = False
        self._draining: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Answer a request with a known head; give the rest to aiohttp, which passes nothing here to look again."""
        if self._is_answering:
            self._hold(data)
        elif self._given is None or not data:
            super().data_received(data)
        elif self._given or not self._is_idle():
            self._give(data)
        else:
            data, self._held = self._held + data, b""
            if not self._answer(data):
                self._give(data)

    def _is_idle(self) -> bool:
        """Say whether aiohttp waits for the next request."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and not self._messages and not self._close

    def _answer(self, data: bytes) -> bool:
        """Begin to answer what begins here, or wait for the rest of it; False if that is aiohttp's to do."""
        end = data.find(HEAD_END) + len(HEAD_END)
        known = self._answers.find(data[:end])
        if known is None:
            return False
        stop = end + known.length
        if len(data) < stop:
            self._held = data
            return True
        if not self._answers.start(known, data[end:stop], self._write):
            return False
        self._is_answering = self._request_in_progress = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if len(data) > stop:
            self._hold(data[stop:])
        return True

    def _write(self, answer: bytes) -> None:
        """Send the answer, and go on with what has come meanwhile, unless nobody reads the answers."""
        self._is_answering = self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self.transport is None:
            return
        self.transport.write(answer)
        if self._close:
            self.transport.close()
        elif self._paused:
            self._is_answering = True
            self._draining = self._loop.create_task(self._go_on_when_read())
        elif self._held:
            self._go_on()

    async def _go_on_when_read(self) -> None:
        try:
            await self._drain_helper()
        except ConnectionError:
            return
        self._is_answering = False
        self._go_on()

    def _go_on(self) -> None:
        if self.transport is None or not self._held:
            return
        data, self._held = self._held, b""
        self.transport.resume_reading()
        self.data_received(data)

    def _hold(self, data: bytes) -> None:
        if not self._held and self.transport is not None:
            self.transport.pause_reading()
        self._held += data

    def _give(self, data: bytes) -> None:
        """Give bytes to aiohttp, and remember them until their request is answered."""
        given = (self._given or b"") + data
        self._given = given if len(given) <= MAX_REMEMBERED_BYTES else None
        super().data_received(data)
        if self._upgraded:
            self._given = None

    def end_request(self, request: web.BaseRequest, *, is_plain: bool) -> None:
        """Note that aiohttp's request was answered; `is_plain` if the next one like it may be answered here.

        The next one begins after it, if what was given ends where it ends. Empty lines before a request, which are
        skipped, and a body that is not whole make that uncertain.
        """
        given, self._given = self._given, None
        if given is None or given.startswith((b"\r", b"\n")) or "Transfer-Encoding" in request.headers:
            return
        end = given.find(HEAD_END) + len(HEAD_END)
        if len(given) == end + (request.content_length or 0):
            self._given = b""
            if is_plain:
                self._answers.learn(given[:end], request)
