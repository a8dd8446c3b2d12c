"""The WebSocket stream: any operation as MessagePack, many in flight on one connection, answers in any order.

A frame from the caller is ``[id, op, body]`` or a list of at most 256 of them; `id` is a whole number that the caller
chooses, `op` and `body` are those of the HTTP operation. A frame to the caller is a list of ``[id, answer]``: what the
HTTP operation answers, or ``{"problem": ...}``. Answers that are ready in one turn of the loop leave in one frame.
See docs/stream.md.
"""

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any, Final

import msgpack
from aiohttp import WSCloseCode, WSMsgType, web

from ledger.decisions import Decision, Settlement
from ledger.errors import InvalidInput, LedgerError
from ledger.problems import problem_fields
from sidecar.api.bodies import unpack
from sidecar.api.decode import FIELDS, MAX_OPERATIONS, decode_request
from sidecar.api.encode import encode_answer
from sidecar.enforcer import Enforcer
from sidecar.metrics import Metrics

MAX_STREAMS: Final = 256
MAX_IN_FLIGHT: Final = 1024
"""Operations of one stream that are not answered yet; at so many, its next frame is not read before some are."""
MAX_ID: Final = 2**53
HEARTBEAT_S: Final = 30.0
CLOSE_TIMEOUT_S: Final = 0.5
FINISH_S: Final = 2.0
MAX_REASON_BYTES: Final = 120
PARTS: Final = 3
OPERATIONS: Final = {str(operation): operation for operation in FIELDS}

log = logging.getLogger("spendgate.stream")


class NotAWebSocket(LedgerError):
    """The request does not ask for a WebSocket."""

    code = "not_a_websocket"
    status = 400


class TooManyStreams(LedgerError):
    """The sidecar serves as many streams as it may; use one connection for many operations."""

    code = "too_many_streams"
    status = 503


class Stopping(LedgerError):
    """The sidecar is stopping; nothing was charged, ask again on a new connection."""

    code = "stopping"
    status = 503


class MalformedFrame(Exception):
    """A frame without readable ids: there is no operation that could be answered."""


class StreamHandlers:
    """Serves streams over an enforcer; `stop` lets what is in flight finish."""

    def __init__(self, enforcer: Enforcer, metrics: Metrics, *, max_frame_bytes: int) -> None:
        self._enforcer = enforcer
        self._metrics = metrics
        self._max_frame_bytes = max_frame_bytes
        self._streams: set[Stream] = set()
        self._is_stopping = False

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/v1/stream", self.serve)]

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one stream until either side closes it."""
        if self._is_stopping:
            raise Stopping("the sidecar is stopping")
        if len(self._streams) >= MAX_STREAMS:
            raise TooManyStreams(f"{MAX_STREAMS} streams are open already")
        socket = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT_S, heartbeat=HEARTBEAT_S, compress=False, max_msg_size=self._max_frame_bytes
        )
        if not socket.can_prepare(request).ok:
            raise NotAWebSocket("open a WebSocket here (version 13, binary messages)")
        stream = Stream(socket, self._enforcer)
        self._add(stream)
        try:
            await socket.prepare(request)
            await stream.run()
        finally:
            self._remove(stream)
        return socket

    async def stop(self) -> None:
        """Refuse new operations, answer those in flight, close every stream."""
        self._is_stopping = True
        await asyncio.gather(*[stream.stop() for stream in self._streams])

    def _add(self, stream: "Stream") -> None:
        self._streams.add(stream)
        self._metrics.set_streams(len(self._streams))

    def _remove(self, stream: "Stream") -> None:
        self._streams.discard(stream)
        self._metrics.set_streams(len(self._streams))


class Stream:
    """One connection: reads frames, starts their operations, writes answers as they come."""

    def __init__(self, socket: web.WebSocketResponse, enforcer: Enforcer) -> None:
        self._socket = socket
        self._enforcer = enforcer
        self._loop = asyncio.get_running_loop()
        self._answers: list[tuple[int, dict[str, Any]]] = []
        self._unanswered = 0
        self._has_answers = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_stopping = False

    async def run(self) -> None:
        """Serve until the connection closes; what is in flight then ends on its own, within the deadline."""
        if self._is_stopping:
            return
        writing = self._loop.create_task(self._write())
        try:
            await self._read()
        except MalformedFrame as error:
            await self._finish()
            await self._close(WSCloseCode.INVALID_TEXT, str(error))
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    async def stop(self) -> None:
        """Refuse what comes from now on, answer what is in flight, close."""
        self._is_stopping = True
        if not self._socket.prepared:
            return
        await self._finish()
        await self._close(WSCloseCode.GOING_AWAY, "the sidecar is stopping")

    async def _finish(self) -> None:
        """Wait until everything that was asked is answered and sent, or the caller has gone or does not read."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                await self._wait_for_room(1)

    async def _wait_for_room(self, bound: int) -> None:
        """Wait until fewer operations than `bound` are unanswered, or the connection is gone."""
        while self._unanswered >= bound and not self._socket.closed:
            self._has_room.clear()
            await self._has_room.wait()

    async def _close(self, code: WSCloseCode, reason: str) -> None:
        await self._socket.close(code=code, message=reason.encode()[:MAX_REASON_BYTES])

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                self._start_all(message.data)
            elif message.type is WSMsgType.TEXT:
                raise MalformedFrame("frames are MessagePack in binary messages")
            await self._wait_for_room(MAX_IN_FLIGHT)

    def _start_all(self, frame: bytes) -> None:
        for number, name, body in _entries(frame):
            self._unanswered += 1
            if self._is_stopping:
                self._put(number, _problem(Stopping("the sidecar is stopping; nothing was charged")))
                continue
            self._start(number, name, body)

    def _start(self, number: int, name: object, body: object) -> None:
        try:
            operation = OPERATIONS.get(name) if isinstance(name, str) else None
            if operation is None:
                raise InvalidInput(f"op must be one of {', '.join(OPERATIONS)}", field="op")
            request = decode_request(operation, body)
        except LedgerError as error:
            self._put(number, _problem(error))
        else:
            self._enforcer.start(request, partial(self._answered, number))

    def _answered(self, number: int, answer: Decision | Settlement | Exception) -> None:
        if isinstance(answer, Exception):
            self._put(number, _problem(answer))
            return
        try:
            fields = encode_answer(answer)
        except Exception as error:
            fields = _problem(error)
        self._put(number, fields)

    def _put(self, number: int, answer: dict[str, Any]) -> None:
        self._answers.append((number, answer))
        self._has_answers.set()

    async def _write(self) -> None:
        """Send answers as long as the connection lives; what a caller does not read holds its next frames back."""
        try:
            while True:
                await self._has_answers.wait()
                batch, self._answers = self._answers[:MAX_OPERATIONS], self._answers[MAX_OPERATIONS:]
                if not self._answers:
                    self._has_answers.clear()
                await self._socket.send_bytes(msgpack.packb(batch))
                self._unanswered -= len(batch)
                self._has_room.set()
        except ConnectionError:
            log.debug("a stream's caller has gone")
        finally:
            self._unanswered = 0
            self._has_room.set()


def _entries(frame: bytes) -> list[tuple[int, object, object]]:
    """Return the operations of a frame; raises `MalformedFrame` unless every one has an id."""
    try:
        content = unpack(frame)
    except InvalidInput as error:
        raise MalformedFrame(error.message) from None
    if not isinstance(content, list):
        raise MalformedFrame("a frame is [id, op, body] or a list of them")
    entries = content if content and isinstance(content[0], list) else [content]
    if len(entries) > MAX_OPERATIONS:
        raise MalformedFrame(f"a frame has at most {MAX_OPERATIONS} operations")
    return [_entry(entry) for entry in entries]


def _entry(entry: object) -> tuple[int, object, object]:
    if not isinstance(entry, list) or len(entry) != PARTS:
        raise MalformedFrame("an operation is [id, op, body]")
    number, name, body = entry
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_ID:
        raise MalformedFrame("id must be a whole number from 0 to 2^53")
    return number, name, body


def _problem(error: Exception) -> dict[str, Any]:
    """Return what stands in an answer's place; what is unexpected is logged and hidden."""
    if not isinstance(error, LedgerError):
        log.error("an operation of a stream failed", exc_info=error)
        error = LedgerError("this is our fault; the log has the details")
    return {"problem": problem_fields(error)}
