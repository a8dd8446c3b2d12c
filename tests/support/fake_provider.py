"""A provider on a loopback port: OpenAI's and Anthropic's paths, streams, and faults one after the other.

It stands on the standard library alone, so that it runs beside any version of the providers' packages.
"""

import contextlib
import json
import re
import socket
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.fake_replies import Answers

PATH = re.compile(r"(?:/v1|/openai(?:/deployments/[^/]+)?)?/(?P<name>[a-z_/]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request.

    `status`: an error of that status. `hangs`: no answer until the test ends. `drops`: the connection is cut before an
    answer. `breaks_after`: a stream is cut after so many events. `body`: these bytes with status 200 as the answer.
    """

    status: int | None = None
    hangs: bool = False
    drops: bool = False
    breaks_after: int | None = None
    body: bytes | None = None


@dataclass(slots=True)
class Seen:
    """A request as it came."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass
class FakeProvider:
    """What the server does and saw. `faults` are used up by the requests in their order."""

    url: str = ""
    answers: Answers = field(default_factory=Answers)
    faults: deque[Fault] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        """Forget what was seen, answer as at first, and end what hangs."""
        self.over.set()
        self.answers, self.over = Answers(), threading.Event()
        for kept in (self.faults, self.seen, self.sent):
            kept.clear()

    def next_fault(self) -> Fault:
        """Return the fault of the next request."""
        try:
            return self.faults.popleft()
        except IndexError:
            return Fault()


@contextlib.contextmanager
def fake_provider() -> Iterator[FakeProvider]:
    """Serve until the end of the block; nothing listens or waits after it."""
    provider = FakeProvider()
    server = _Server(("127.0.0.1", 0), _Handler)
    server.provider = provider
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield provider
    finally:
        provider.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    provider: FakeProvider
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers that went away: it is what they are here for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = PATH.fullmatch(self.path.partition("?")[0])
        assert found is not None, self.path
        self.server.provider.seen.append(Seen(found["name"], body, {k.lower(): v for k, v in self.headers.items()}))
        self._answer(found["name"], body, self.server.provider.next_fault())

    def _answer(self, path: str, body: dict[str, Any], fault: Fault) -> None:
        if fault.hangs:
            self.server.provider.over.wait()
        if fault.hangs or fault.drops:
            self._cut()
        elif fault.status is not None:
            error = {"type": "error", "error": {"type": "fake_error", "message": "as asked for"}}
            self._whole(fault.status, json.dumps(error).encode())
        elif fault.body is not None:
            self._whole(200, fault.body)
        elif body.get("stream"):
            self._stream(path, body, fault.breaks_after)
        else:
            self._whole(200, json.dumps(self.server.provider.answers.document(path, body)).encode())

    def _whole(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        # The packages wait before a retry as long as they are told; tests have better things to do.
        self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(content)
        self.server.provider.sent.append(content)

    def _stream(self, path: str, body: dict[str, Any], breaks_after: int | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(self.server.provider.answers.stream(path, body)):
            if number == breaks_after:
                self._cut()
                return
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.server.provider.sent.append(event)
        self.wfile.write(b"0\r\n\r\n")

    def _cut(self) -> None:
        """End the connection in the middle of whatever it was; what was sent before still arrives."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Log nothing."""
