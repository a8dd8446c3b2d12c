"""A closed-loop HTTP load generator: N keep-alive connections, each sends its next request when the answer is there.

One thread over epoll (or what the platform has), raw bytes, so that it takes little of the core it shares with the
store. Run as a process of its own: ``python -m bench.load --port 8787 --connections 32 --seconds 3``; prints one JSON
object: requests a second, latencies in milliseconds, how many answers were not 200.
"""

import argparse
import json
import selectors
import socket
import time
from dataclasses import dataclass

RECEIVE_BYTES = 65536
LENGTH_FIELD = b"Content-Length: "
BODY = '{"request_id":"%s-%%012d","user_id":"user-%%06d","tier":"pro","cost_usd":0.000125}'
HEAD = (
    "POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    "Accept: application/json\r\nContent-Length: %d\r\n\r\n"
)


def request_template(tag: str) -> bytes:
    """Return a request with places for a number that makes its id and one that makes its user."""
    body = BODY % tag
    return (HEAD % len(body % (0, 0)) + body).encode()


@dataclass(slots=True)
class Connection:
    """One keep-alive connection: what has arrived of an answer, and when its request left."""

    socket: socket.socket
    arrived: bytes = b""
    sent_at: float = 0.0

    def is_answered(self) -> bool:
        """Read what is there; say whether the answer is whole. Raises `ConnectionError` if the peer hung up."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server closed a connection")
        self.arrived = self.arrived + data if self.arrived else data
        end = self.arrived.find(b"\r\n\r\n")
        if end < 0:
            return False
        start = self.arrived.index(LENGTH_FIELD) + len(LENGTH_FIELD)
        length = int(self.arrived[start : self.arrived.index(b"\r", start)])
        return len(self.arrived) >= end + 4 + length


def run_load(port: int, connections: int, seconds: float, users: int) -> dict[str, float]:
    """Return requests a second and latencies in milliseconds."""
    template = request_template(f"{time.time_ns():x}")
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    sequence = not_ok = 0
    for _ in range(connections):
        connection = Connection(socket.create_connection(("127.0.0.1", port)))
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    started = time.perf_counter()
    for key in list(selector.get_map().values()):
        sequence += 1
        key.data.sent_at = time.perf_counter()
        key.data.socket.sendall(template % (sequence, sequence * 7919 % users))
    stop_at, open_connections = started + seconds, connections
    while open_connections:
        for key, _ in selector.select():
            connection = key.data
            if not connection.is_answered():
                continue
            now = time.perf_counter()
            latencies.append(now - connection.sent_at)
            not_ok += not connection.arrived.startswith(b"HTTP/1.1 200")
            connection.arrived = b""
            if now >= stop_at:
                selector.unregister(connection.socket)
                connection.socket.close()
                open_connections -= 1
                continue
            sequence += 1
            connection.sent_at = now
            connection.socket.sendall(template % (sequence, sequence * 7919 % users))
    return summarize(latencies, time.perf_counter() - started, not_ok)


def summarize(latencies: list[float], elapsed_s: float, not_ok: int) -> dict[str, float]:
    """Return the figures of one run."""
    ordered = sorted(latencies)
    return {
        "requests": len(ordered),
        "per_second": len(ordered) / elapsed_s,
        "not_ok": not_ok,
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
        "max_ms": ordered[-1] * 1000,
        "load_cpu_us": time.process_time() * 1e6 / len(ordered),
    }


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--users", type=int, default=1000)
    options = parser.parse_args()
    print(json.dumps(run_load(options.port, options.connections, options.seconds, options.users)))


if __name__ == "__main__":
    main()
