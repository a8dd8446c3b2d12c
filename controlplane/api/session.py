"""Handlers of the session: a browser trades a token for a cookie that scripts cannot read, and gives it back."""

from typing import Final

from aiohttp import web

from controlplane.api.access import CALLER, COOKIE, Access
from controlplane.api.answers import answer
from controlplane.api.bodies import read_object
from controlplane.api.queries import Query
from controlplane.auth import Caller, Forbidden, Scope, actor_of, parse_actor
from ledger.errors import InvalidInput

FIELDS: Final = ("token", "name")


class SessionHandlers:
    """Log in, look, log out."""

    def __init__(self, access: Access, *, lifetime_s: float) -> None:
        self._access = access
        self._lifetime_s = lifetime_s

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/api/v1/session", self.show),
            web.post("/api/v1/session", self.open),
            web.delete("/api/v1/session", self.close),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Answer who calls, and whether tokens are in use at all; `scope` is null for somebody who is not logged in."""
        Query(request, [])
        caller = request[CALLER]
        scope, actor = (None, None) if caller is None else (caller.scope, caller.actor)
        return answer({"scope": scope, "actor": actor, "needs_token": self._access.tokens.guard})

    async def open(self, request: web.Request) -> web.Response:
        """Open a session for a token; `name` is how the audit trail calls who logs in."""
        Query(request, [])
        body = await read_object(request, FIELDS)
        token, name = body.get("token"), body.get("name") or None
        if not isinstance(token, str):
            raise InvalidInput("token is required, as text", field="token")
        name = None if name is None else parse_actor(name, field="name")
        if not self._access.tokens.guard:
            raise Forbidden(
                "no token is set here: everything is open to this machine, and there is nothing to log in to"
            )
        scope = self._access.log_in(token, request.remote)
        if scope in {Scope.PUSH, Scope.EVENTS}:
            raise Forbidden(f"a token of the scope {scope} opens no session; programs use it")
        caller = Caller(scope=scope, actor=actor_of(f"{scope} token", name))
        self._close(request)
        response = answer({"scope": caller.scope, "actor": caller.actor, "needs_token": True}, status=201)
        response.set_cookie(
            COOKIE,
            self._access.sessions.open(caller),
            max_age=round(self._lifetime_s),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=self._access.origins.is_secure,
        )
        return response

    async def close(self, request: web.Request) -> web.Response:
        """End the session, if there is one."""
        Query(request, [])
        self._close(request)
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=self._access.origins.is_secure)
        return response

    def _close(self, request: web.Request) -> None:
        cookie = request.cookies.get(COOKIE)
        if cookie is not None:
            self._access.sessions.close(cookie)
