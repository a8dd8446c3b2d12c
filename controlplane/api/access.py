"""Who may call: names and origins first, then a token or a session, then whether its scope reaches that far."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from controlplane.auth import (
    LOCAL_SCOPE,
    Caller,
    FailedLogIns,
    Forbidden,
    Scope,
    Sessions,
    Tokens,
    Unauthorized,
    actor_of,
    parse_actor,
)
from controlplane.origins import SAFE_METHODS, CrossOrigin, Origins

COOKIE: Final = "sg_session"
ACTOR_HEADER: Final = "X-Spendgate-Actor"
API: Final = "/api/"
RULE_SETS: Final = frozenset({"/api/v1/rules/import", "/api/v1/rules/export", "/api/v1/prices"})
EVENTS_PATH: Final = "/api/events"
PUBLIC: Final = re.compile(rf"/login|/favicon\.ico|/static/.*|/api/v1/session|{EVENTS_PATH}")
"""What has its own idea of who may call; usage events bring their token in the body."""
LOG_IN: Final = "/login"
SEE_OTHER_METHODS: Final = frozenset({"GET", "HEAD"})

READ: Final = frozenset({Scope.READ})
WRITE: Final = frozenset({Scope.WRITE})

CALLER: Final[web.RequestKey[Caller | None]] = web.RequestKey("caller", object)  # type: ignore[arg-type]
"""Who sent a request."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def needed_scopes(method: str, path: str) -> frozenset[Scope]:
    """Return the scopes of which a request needs one."""
    needed = READ if method in SAFE_METHODS else WRITE
    return needed | {Scope.PUSH} if path in RULE_SETS else needed


class Access:
    """Proves who calls. Without any token in the settings, which only loopback allows, everybody may do everything."""

    def __init__(self, *, tokens: Tokens, sessions: Sessions, failures: FailedLogIns, origins: Origins) -> None:
        self.tokens = tokens
        self.sessions = sessions
        self.failures = failures
        self.origins = origins

    def log_in(self, token: str, address: str | None) -> Scope:
        """Return the scope of a token. Raises `Unauthorized`, and `TooManyFailures` before it looks at the token."""
        self.failures.check(address)
        scope = self.tokens.scope_of(token.encode(errors="surrogateescape"))
        if scope is None:
            self.failures.record(address)
            raise Unauthorized("the token is wrong")
        return scope

    def caller(self, request: web.Request) -> Caller | None:
        """Return who calls, None for somebody without token or session. Raises for a wrong token."""
        name = request.headers.get(ACTOR_HEADER)
        name = None if name is None else parse_actor(name, field=ACTOR_HEADER)
        if "Authorization" in request.headers:
            scheme, _, token = request.headers["Authorization"].partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthorized("send the token as `Authorization: Bearer ...`")
            if self.tokens.guard:
                scope = self.log_in(token.strip(), request.remote)
                return Caller(scope=scope, actor=actor_of(f"{scope} token", name))
        if not self.tokens.guard:
            return Caller(scope=LOCAL_SCOPE, actor=actor_of("local", name))
        return self._of_session(request)

    def _of_session(self, request: web.Request) -> Caller | None:
        cookie = request.cookies.get(COOKIE)
        caller = None if cookie is None else self.sessions.find(cookie)
        if caller is None:
            return None
        is_vouched = request.method in SAFE_METHODS or self.origins.sent_by_browser_page(request.headers)
        if not is_vouched:
            raise CrossOrigin("what a session sends needs an Origin or Sec-Fetch-Site header; programs use a token")
        return caller


def access_middleware(access: Access) -> Any:
    """Return the middleware; it leaves ``request[CALLER]``, None for somebody who is on a public path."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_page = not request.path.startswith(API)
        access.origins.check_host(request.headers.get("Host", ""))
        access.origins.check_browser(request.method, request.headers, is_page=is_page)
        caller = access.caller(request)
        is_public = PUBLIC.fullmatch(request.path) is not None
        if caller is None and not is_public:
            if is_page and request.method in SEE_OTHER_METHODS:
                raise web.HTTPSeeOther(f"{LOG_IN}?{urlencode({'next': request.path_qs})}")
            raise Unauthorized("log in, or send a token as `Authorization: Bearer ...`")
        needed = needed_scopes(request.method, request.path)
        if caller is not None and not is_public and not caller.may(needed):
            raise Forbidden(f"this needs the scope {' or '.join(sorted(needed))}, not {caller.scope}")
        request[CALLER] = caller
        return await handler(request)

    return middleware


def actor_name(request: web.Request) -> str:
    """Return who sent a request, for the audit trail."""
    caller = request.get(CALLER)
    return "" if caller is None else caller.actor
