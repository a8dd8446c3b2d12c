"""A connection to a sidecar's decisions that a test writes to byte by byte, and the requests that it sends."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgpack
import orjson

from sidecar.api.connection import DecisionConnection
from tests.support.edge import Edge

DEADLINE_S = 60
CHECK = {"user_id": "carol", "tier": "pro", "cost_usd": 0.25}
Answer = tuple[int, str, Any]


class Caller:
    """One connection, raw."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, edge: Edge) -> "Caller":
        """Connect to the decision listener."""
        host, port = edge.url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def answer(self) -> Answer:
        """Read one answer: status, content type, body."""
        async with asyncio.timeout(DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            body = await self.reader.readexactly(int(fields["content-length"]))
        decode = msgpack.unpackb if "msgpack" in fields["content-type"] else orjson.loads
        return int(head.split(" ")[1]), fields["content-type"], decode(body)

    async def ask(self, *requests: bytes) -> list[Answer]:
        """Send requests at once; read their answers."""
        self.writer.write(b"".join(requests))
        return [await self.answer() for _ in requests]

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        await self.writer.wait_closed()


def post(operation: str, body: object, *headers: str, raw: bytes | None = None) -> bytes:
    """Return a request."""
    data = orjson.dumps(body) if raw is None else raw
    head = [f"POST /v1/{operation} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(data)}", *headers]
    if not any(header.startswith("Content-Type") for header in headers):
        head.append("Content-Type: application/json")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def check(number: int, **changes: object) -> bytes:
    """Return a check; all of them have heads of one length."""
    return post("check", {**CHECK, "request_id": f"c-{number:06}", **changes})


async def until_some(edge: Edge, holds: Callable[[Any], bool]) -> None:
    """Wait until something holds of one of the edge's connections."""
    server = edge.listeners._decision.server
    assert server is not None
    known = set(server.connections)
    async with asyncio.timeout(DEADLINE_S):
        while not any(holds(each) for each in known if isinstance(each, DecisionConnection)):
            await asyncio.sleep(0)
            known.update(server.connections)
