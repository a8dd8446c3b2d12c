"""A closed-loop HTTP load generator: N keep-alive connections, each sends its next request when the answer is there.

Raw bytes on asyncio protocols, so that one core can drive a server on another. Run as a process of its own:
``python -m bench.load --port 8787 --connections 32 --seconds 3``; prints one JSON object.
"""

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop

HEAD = (
    "POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    "Accept: application/json\r\nContent-Length: {length}\r\n\r\n"
)
LENGTH_FIELD = b"content-length: "


@dataclass
class Tally:
    """What the connections saw; latencies in seconds."""

    latencies: list[float] = field(default_factory=list)
    not_ok: int = 0
    sequence: int = 0


class Connection(asyncio.Protocol):
    """One keep-alive connection; every request has a new request id and one of `users` users."""

    def __init__(self, tally: Tally, users: int, stop_at: float, tag: str) -> None:
        self._tally = tally
        self._users = users
        self._stop_at = stop_at
        self._tag = tag
        self._buffer = b""
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._tally.sequence += 1
        number = self._tally.sequence
        body = (
            f'{{"request_id":"{self._tag}-{number}","user_id":"user-{number * 7919 % self._users}",'
            '"tier":"pro","cost_usd":0.000125}'
        )
        self._sent_at = time.perf_counter()
        self._transport.write((HEAD.format(length=len(body)) + body).encode())

    def data_received(self, data: bytes) -> None:
        """Take an answer once it is whole, and send the next request."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        start = head.index(LENGTH_FIELD) + len(LENGTH_FIELD)
        stop = head.find(b"\r\n", start)
        length = int(head[start : stop if stop > 0 else None])
        if len(self._buffer) < end + 4 + length:
            return
        now = time.perf_counter()
        self._tally.latencies.append(now - self._sent_at)
        self._tally.not_ok += not head.startswith(b"http/1.1 200")
        self._buffer = b""
        if now < self._stop_at:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """End; a connection that broke counts as an answer that was not OK."""
        self._tally.not_ok += error is not None
        if not self.done.done():
            self.done.set_result(None)


async def run_load(port: int, connections: int, seconds: float, users: int) -> dict[str, float]:
    """Return requests a second and latencies in milliseconds."""
    loop = asyncio.get_running_loop()
    tally, started = Tally(), time.perf_counter()
    made = []
    for _ in range(connections):
        tag = f"{time.time_ns():x}"
        _, protocol = await loop.create_connection(
            lambda tag=tag: Connection(tally, users, started + seconds, tag), "127.0.0.1", port
        )
        made.append(protocol)
    await asyncio.gather(*[protocol.done for protocol in made])
    elapsed = time.perf_counter() - started
    ordered = sorted(tally.latencies)
    return {
        "requests": len(ordered),
        "per_second": len(ordered) / elapsed,
        "not_ok": tally.not_ok,
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
        "max_ms": ordered[-1] * 1000,
    }


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--users", type=int, default=1000)
    options = parser.parse_args()
    result = uvloop.run(run_load(options.port, options.connections, options.seconds, options.users))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
