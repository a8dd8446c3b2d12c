"""Connections of the load generator: raw bytes over a blocking socket that is read when something is there."""

import base64
import os
import socket
import struct
from typing import Final, Protocol

import msgpack

from bench.suite.loads import Load, Wire
from bench.suite.messages import Slot, frame

TIMEOUT_S: Final = 30
RECEIVE_BYTES: Final = 1 << 18
ANSWER_BYTES: Final = 1 << 14
LENGTH_FIELD: Final = b"Content-Length: "
END_OF_HEAD: Final = b"\r\n\r\n"
PING, PONG, CLOSE = 0x9, b"\x8a", 0x8
MEDIUM, LONG = 126, 127


class UnexpectedAnswer(Exception):
    """An answer is not what the load expects; figures of such a run would mean nothing."""


class Caller(Protocol):
    """A connection with its slots."""

    socket: socket.socket
    slots: list[Slot]

    def receive(self) -> list[Slot]:
        """Read what is there; return a slot for each operation that is answered now."""
        ...


def open_connection(address: str) -> socket.socket:
    """Connect to a port on loopback or to a Unix socket.

    It blocks for at most `TIMEOUT_S`, and that is the kernel's to watch: with a timeout of its own Python asks before
    each read and each write whether it may, and the store's core pays for it.
    """
    if address.isdecimal():
        connection = socket.create_connection(("127.0.0.1", int(address)), TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
    connection.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", TIMEOUT_S, 0))
    return connection


def make_caller(load: Load, number: int, connection: socket.socket) -> Caller:
    """Return the caller with this number on its connection."""
    if load.wire is Wire.STREAM:
        return StreamCaller(load, number, connection)
    return HttpCaller(load, number, connection)


class HttpCaller:
    """A keep-alive connection with one request under way."""

    def __init__(self, load: Load, number: int, connection: socket.socket) -> None:
        self.socket = connection
        self.slots = [Slot(number)]
        self._arrived = b""
        self._calm, self._expected = expected_bytes(load)

    def receive(self) -> list[Slot]:
        """Return the slot if its answer is whole now."""
        data = self.socket.recv(ANSWER_BYTES)
        if not data:
            raise ConnectionError("the server closed a connection")
        self._arrived = arrived = self._arrived + data if self._arrived else data
        end = arrived.find(END_OF_HEAD)
        if end < 0:
            return []
        start = arrived.index(LENGTH_FIELD) + len(LENGTH_FIELD)
        if len(arrived) < end + len(END_OF_HEAD) + int(arrived[start : arrived.index(b"\r", start)]):
            return []
        if not (arrived.startswith(b"HTTP/1.1 200") and self._calm in arrived and self._expected in arrived):
            raise UnexpectedAnswer(arrived.decode(errors="replace"))
        self._arrived = b""
        return self.slots


class StreamCaller:
    """A WebSocket with many messages under way."""

    def __init__(self, load: Load, number: int, connection: socket.socket) -> None:
        self.socket = connection
        self.slots = [Slot(number * load.slots + each) for each in range(load.slots)]
        self._by_number = {slot.number: slot for slot in self.slots}
        self._arrived = bytearray()
        self._calm, self._expected = expected_bytes(load)
        self._shake_hands()

    def _shake_hands(self) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = b""
        while END_OF_HEAD not in answer:
            answer += self.socket.recv(RECEIVE_BYTES)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise UnexpectedAnswer(answer.decode(errors="replace"))

    def receive(self) -> list[Slot]:
        """Return the slot of each answer in the frames that are whole now."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server closed a stream")
        self._arrived += data
        answered: list[Slot] = []
        while (payload := self._next_payload()) is not None:
            answered += self._answered(payload)
        return answered

    def _answered(self, payload: bytes) -> list[Slot]:
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        unpacker.feed(payload)
        slots = []
        for _ in range(unpacker.read_array_header()):
            unpacker.read_array_header()
            slots.append(self._by_number[unpacker.unpack()])
            unpacker.skip()
        if not payload.count(self._calm) == payload.count(self._expected) == len(slots):
            raise UnexpectedAnswer(str(msgpack.unpackb(payload)))
        return slots

    def _next_payload(self) -> bytes | None:
        """Return the payload of the next data frame if it is whole; answers pings on the way."""
        arrived = self._arrived
        while (bounds := frame_bounds(arrived)) is not None:
            kind, payload = arrived[0] & 0xF, bytes(arrived[slice(*bounds)])
            del arrived[: bounds[1]]
            if kind == CLOSE:
                raise ConnectionError("the server closed a stream")
            if kind != PING:
                return payload
            self.socket.sendall(PONG + frame(payload)[1:])
        return None


def frame_bounds(arrived: bytearray) -> tuple[int, int] | None:
    """Return where the payload of a server's frame begins and ends, None if it is not whole yet."""
    if len(arrived) < 2:
        return None
    start, size = 2, arrived[1] & 0x7F
    if size >= MEDIUM:
        start = 4 if size == MEDIUM else 10
        if len(arrived) < start:
            return None
        size = int.from_bytes(arrived[2:start], "big")
    return (start, start + size) if len(arrived) >= start + size else None


def expected_bytes(load: Load) -> tuple[bytes, bytes]:
    """Return what stands in every answer of the store, and in every answer of this load's decision."""
    if load.wire is Wire.JSON:
        return b'"degraded":false', f'"decision":"{load.decision}"'.encode()
    return b"\xa8degraded\xc2", b"\xa8decision" + bytes(msgpack.packb(load.decision))
