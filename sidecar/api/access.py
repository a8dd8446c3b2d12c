"""Who may call: the Host header on loopback against DNS rebinding, bearer tokens elsewhere."""

import hmac
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final

from aiohttp import web

from ledger.errors import LedgerError

EVENTS_PATH: Final = "/api/events"
LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]", ""})


class BadHost(LedgerError):
    """The Host header names another machine: a page in a browser may have been lured here."""

    code = "bad_host"
    status = 421


class CrossOrigin(LedgerError):
    """A page in a browser sent the request; apps send no Origin header."""

    code = "cross_origin"
    status = 403


class Unauthorized(LedgerError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"
    status = 401


def has_token(request: web.BaseRequest, token: str) -> bool:
    """Say whether the request carries the token; compared in constant time."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Bytes that are no UTF-8 arrive as surrogates; they are as wrong as any other token, not a fault of ours.
    sent = given.strip().encode(errors="surrogateescape")
    return scheme.lower() == "bearer" and hmac.compare_digest(sent, token.encode())


def check_token(request: web.BaseRequest, token: str) -> None:
    """Raise `Unauthorized` unless the request carries the token."""
    if not has_token(request, token):
        raise Unauthorized("send the token as `Authorization: Bearer ...`")


def access_check(*, is_local: bool, token: str | None) -> Callable[[web.BaseRequest], None]:
    """Return the check of the decision listener, which raises.

    Pushes of rules check a token of their own; usage events may bring it in their body.
    """

    def check(request: web.BaseRequest) -> None:
        headers = request.headers
        if is_local and host_name(headers.get("Host", "")) not in LOCAL_NAMES:
            raise BadHost("this listener serves localhost only")
        if is_local and "Origin" in headers:
            raise CrossOrigin("this listener serves apps, not pages in browsers; send no Origin header")
        if token is not None and request.method != "PUT" and request.path != EVENTS_PATH:
            check_token(request, token)

    return check


def access_middleware(check: Callable[[web.BaseRequest], None]) -> Any:
    """Return the middleware that makes a check before every handler."""

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        check(request)
        return await handler(request)

    return middleware


@lru_cache(maxsize=64)
def host_name(host: str) -> str:
    """Return a Host header without its port."""
    name, separator, port = host.rpartition(":")
    return (name if separator and port.isdigit() else host).lower()
