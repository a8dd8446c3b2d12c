"""An answer whose bytes are known at once, written in one piece.

aiohttp prepares a general response for what a decision never needs (cookies, compression, chunks, ranges), see
docs/decisions/0007. This one is used for the answers to POST; an old or closing connection gets aiohttp's own.
"""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, cast

from aiohttp import HttpVersion11, web

MAX_UNSENT_BYTES: Final = 65_536
HEAD: Final = "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nDate: {}\r\nContent-Length: "


class _Heads:
    """What answers begin with, up to the length; made once a second and kind, because of the date in it."""

    def __init__(self) -> None:
        self._second = 0
        self._heads: dict[tuple[int, str], bytes] = {}

    def get(self, status: int, content_type: str) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._heads.clear()
        head = self._heads.get((status, content_type))
        if head is None:
            date = formatdate(second, usegmt=True)
            head = HEAD.format(status, HTTPStatus(status).phrase, content_type, date).encode()
            self._heads[status, content_type] = head
        return head


_heads: Final = _Heads()


def answer_bytes(body: bytes, content_type: str, *, status: int = 200) -> bytes:
    """Return a whole answer, for a connection that is kept alive."""
    return b"%b%d\r\n\r\n%b" % (_heads.get(status, content_type), len(body), body)


class WholeAnswer:
    """A 200 with a body; what aiohttp's protocol asks of a response, and nothing else."""

    __slots__ = ("_body", "_content_type", "keep_alive", "status")

    def __init__(self, body: bytes, content_type: str) -> None:
        self._body = body
        self._content_type = content_type
        self.keep_alive: bool | None = True
        self.status = 200

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the whole answer."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the caller has gone")
        if request.version != HttpVersion11 or not request.keep_alive:
            await self._answer_generally(request)
            return
        transport.write(answer_bytes(self._body, self._content_type))
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            # A caller that sends without reading waits here, and its answers do not fill our memory.
            await request.writer.drain()

    async def _answer_generally(self, request: web.BaseRequest) -> None:
        response = web.Response(body=self._body, content_type=self._content_type)
        await response.prepare(request)
        await response.write_eof()
        self.keep_alive = response.keep_alive

    async def write_eof(self, _data: bytes = b"") -> None:
        """Do nothing: everything was written."""


def whole_answer(body: bytes, content_type: str) -> web.StreamResponse:
    """Return an answer for a handler; it has the part of a response's interface that the protocol uses."""
    return cast("web.StreamResponse", WholeAnswer(body, content_type))
