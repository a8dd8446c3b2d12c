"""What both stream transports say and hear: WebSocket frames with MessagePack. Nothing here waits or touches a socket.

The frames are those of the sidecar's docs/stream.md.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgpack
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI

from spendgate._exchange import Exchange, Reply

OPERATIONS: Final = {f"/v1/{name}": name for name in ("check", "reserve", "settle", "release", "extend")}
MAX_IN_FLIGHT: Final = 1024
"""Operations of one connection that are not answered; more wait. A sidecar takes as many before it stops reading."""
MAX_OPERATIONS: Final = 256
MAX_FRAME_BYTES: Final = 16 * 1024
"""Of what is sent at once. A single operation that is larger goes over HTTP."""
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Of what is received."""
HTTP_INSTEAD_S: Final = 5.0
"""How long operations go over HTTP after a stream was refused."""
TOO_BIG: Final = 1009
STOPPING: Final = "stopping"

_ENTRY: Final = b"\x93"
"""A MessagePack array of three: the number, the operation, its fields."""


log = logging.getLogger("spendgate")


class Broken(Exception):
    """The connection ended, or what came is no answer of a sidecar. The operation may be repeated on another one."""


class Refused(Exception):
    """There is something that answers, but it serves no stream, or not now."""


def packed(path: str, fields: Mapping[str, Any] | None) -> bytes | None:
    """Return an operation without its number; None for what no stream carries: HTTP does, or says what is wrong."""
    operation = OPERATIONS.get(path)
    if operation is None:
        return None
    try:
        data: bytes = msgpack.packb(operation) + msgpack.packb(fields)
    except (ValueError, OverflowError, TypeError):
        return None
    return data if len(data) <= MAX_FRAME_BYTES else None


def entry(number: int, operation: bytes) -> bytes:
    """Return a packed operation with its number."""
    head: bytes = msgpack.packb(number)
    return _ENTRY + head + operation


class StreamWire:
    """One connection, as bytes in and out."""

    def __init__(self, exchange: Exchange) -> None:
        address = exchange.address
        uri = WebSocketURI(address.scheme == "https", address.host, address.port, "/v1/stream", "")
        self._protocol = ClientProtocol(uri, max_size=MAX_MESSAGE_BYTES)
        self._fragments: list[bytes] = []
        self.owes_pong = False
        request = self._protocol.connect()
        if exchange.token is not None:
            request.headers["Authorization"] = f"Bearer {exchange.token}"
        self._protocol.send_request(request)

    @property
    def is_open(self) -> bool:
        """Operations can be sent."""
        return self._protocol.state is State.OPEN

    @property
    def has_ended(self) -> bool:
        """No operation can be sent any more, and no answer will come."""
        return self._protocol.state in {State.CLOSING, State.CLOSED}

    def ask(self, entries: list[bytes]) -> None:
        """Send operations in one frame, at most 256."""
        only = len(entries) == 1
        head = b"" if only else msgpack.Packer().pack_array_header(len(entries))
        self._protocol.send_binary(head + b"".join(entries))

    def close(self) -> None:
        """Say goodbye, if there is anybody to say it to."""
        if self.is_open:
            self._protocol.send_close(1000)

    def outgoing(self) -> bytes:
        """Return what is to be sent now."""
        self.owes_pong = False
        return b"".join(self._protocol.data_to_send())

    def receive(self, data: bytes) -> list[tuple[int, Reply]]:
        """Return the answers that arrived; no `data` is the end. Raises `Broken` and `Refused`."""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._check_handshake()
        frames = [event for event in self._protocol.events_received() if isinstance(event, Frame)]
        return [reply for message in self._whole(frames) for reply in _replies(message)]

    def end(self) -> Broken | Refused:
        """Return why the connection has ended."""
        close = self._protocol.close_rcvd
        if close is not None and close.code == TOO_BIG:
            return Refused("a frame is more than the sidecar takes (SPENDGATE_MAX_BODY_BYTES)")
        return Broken("the connection was closed" if close is None else f"the stream was closed ({close.code})")

    def _check_handshake(self) -> None:
        error = self._protocol.handshake_exc
        if error is None:
            return
        if isinstance(error, InvalidMessage):
            raise Broken("the connection ended before the stream was open")
        status = f" (status {error.response.status_code})" if isinstance(error, InvalidStatus) else ""
        raise Refused(f"the stream was refused{status}")

    def _whole(self, frames: list[Frame]) -> Iterator[bytes]:
        for frame in frames:
            if frame.opcode is Opcode.TEXT:
                raise Broken("what answers is no sidecar: it sent text")
            self.owes_pong = self.owes_pong or frame.opcode is Opcode.PING
            if frame.opcode in {Opcode.BINARY, Opcode.CONT}:
                self._fragments.append(bytes(frame.data))
                if frame.fin:
                    message, self._fragments = b"".join(self._fragments), []
                    yield message


class HttpInstead:
    """Remembers for a while that a stream was refused."""

    def __init__(self) -> None:
        self._until_s = 0.0

    def is_on(self) -> bool:
        """Say whether operations go over HTTP now."""
        return time.monotonic() < self._until_s

    def begin(self, refusal: Refused) -> None:
        """Go over HTTP from now on, and say so."""
        if not self.is_on():
            log.warning("%s; operations go over HTTP for %d s", refusal, HTTP_INSTEAD_S)
        self._until_s = time.monotonic() + HTTP_INSTEAD_S


def _replies(message: bytes) -> Iterator[tuple[int, Reply]]:
    try:
        for number, answer in msgpack.unpackb(message):
            problem = answer.get("problem")
            yield number, Reply(200, answer) if problem is None else Reply(int(problem["status"]), problem)
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise Broken(f"what answers is no sidecar: {error!r}") from error
