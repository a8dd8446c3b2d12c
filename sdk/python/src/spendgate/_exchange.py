"""What both transports say over HTTP, and how they read failures."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

import httpcore2

from spendgate._address import Address

MAX_CONNECTIONS: Final = 64
"""More at once wait for a free connection, within the timeout."""
KEEPALIVE_CONNECTIONS: Final = 32
KEEPALIVE_S: Final = 30.0
ATTEMPTS: Final = 2

Fields = Mapping[str, Any]

FAILURES: Final = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError)
NOT_SENT: Final = (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: the status it has over HTTP, and its document; None if what came was no JSON object."""

    status: int
    document: Mapping[str, Any] | None

    @classmethod
    def of_json(cls, status: int, body: bytes) -> "Reply":
        """Return the answer with a body of JSON; its numbers are exact."""
        try:
            document = json.loads(body, parse_float=Decimal)
        except ValueError:
            document = None
        return cls(status, document if isinstance(document, dict) else None)


class Unreachable(Exception):
    """No answer came. `sent`: the request may have arrived, so whether it took effect is unknown.

    `timed_out`: it took the whole timeout to find out.
    """

    def __init__(self, reason: str, *, sent: bool, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.timed_out = timed_out


class Answers(Protocol):
    """Whatever answers requests: a transport to a sidecar, or in tests `spendgate.testing.FakeSidecar`."""

    def send(self, path: str, fields: Fields | None = None) -> Reply:
        """Ask for an operation with its fields, or, without any, for what stands at a path; raises `Unreachable`."""

    def close(self) -> None:
        """Close all connections."""


class AsyncAnswers(Protocol):
    """The same, awaited."""

    async def send(self, path: str, fields: Fields | None = None) -> Reply:
        """Ask for an operation with its fields, or, without any, for what stands at a path; raises `Unreachable`."""

    async def close(self) -> None:
        """Close the connections of the running loop."""


class Exchange:
    """Makes requests and judges failed attempts.

    An operation is repeated once when its connection broke, as happens when a sidecar is replaced: each carries a
    request id, so a repetition is never charged twice. What timed out is not repeated, for its time is up.
    """

    def __init__(self, address: Address, *, timeout_s: float, token: str | None) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.token = token
        self._extensions = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)}
        self._headers = [(b"Host", address.host_header.encode()), (b"Accept", b"application/json")]
        if token is not None:
            self._headers.append((b"Authorization", f"Bearer {token}".encode()))

    def request(self, path: str, fields: Fields | None) -> httpcore2.Request:
        """Return a request, which serves one attempt: a POST of JSON, or without `fields` a GET."""
        body = None if fields is None else json.dumps(fields, separators=(",", ":")).encode()
        address = self.address
        headers = self._headers
        if body is not None:
            length = str(len(body)).encode()
            headers = [*headers, (b"Content-Type", b"application/json"), (b"Content-Length", length)]
        url = httpcore2.URL(scheme=address.scheme, host=address.host, port=address.port, target=path)
        method = "GET" if body is None else "POST"
        return httpcore2.Request(method, url, headers=headers, content=body, extensions=self._extensions)

    def failure(self, error: Exception) -> Unreachable:
        """Return what a failed attempt means."""
        sent = not isinstance(error, NOT_SENT)
        if isinstance(error, httpcore2.TimeoutException):
            return self.too_late(sent=sent)
        return self.unreachable(error, sent=sent)

    def too_late(self, *, sent: bool) -> Unreachable:
        """Return that the timeout passed."""
        reason = f"no answer from {self.address.url} within {self.timeout_s} s"
        return Unreachable(reason, sent=sent, timed_out=True)

    def unreachable(self, error: Exception, *, sent: bool) -> Unreachable:
        """Return that the connection failed."""
        detail = str(error) or type(error).__name__
        return Unreachable(f"{self.address.url} cannot be reached: {detail}", sent=sent)

    def give_up(self, attempt: int, error: Exception, earlier: Unreachable | None) -> Unreachable:
        """Return the failure to go on with after an attempt; raises it if there is no other attempt to make."""
        failure = self.failure(error)
        failure.sent = failure.sent or (earlier is not None and earlier.sent)
        if attempt == ATTEMPTS or isinstance(error, (*NOT_SENT, httpcore2.TimeoutException)):
            raise failure from error
        return failure

    def pool_options(self) -> dict[str, Any]:
        """Return the options that the pools of both kinds share."""
        return {
            "max_connections": MAX_CONNECTIONS,
            "max_keepalive_connections": KEEPALIVE_CONNECTIONS,
            "keepalive_expiry": KEEPALIVE_S,
            "uds": self.address.socket_path,
        }
