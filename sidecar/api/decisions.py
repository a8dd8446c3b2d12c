"""Handlers of check, reserve, settle, release, extend and batch."""

from typing import Any, cast

from aiohttp import web

from ledger.decisions import Decision, Operation, Settlement
from ledger.errors import LedgerError
from sidecar.api.bodies import JSON, MSGPACK, decode_body, encode_body, wants_msgpack
from sidecar.api.decode import decode_batch, decode_request
from sidecar.api.encode import encode_answer
from sidecar.api.problems import problem_fields
from sidecar.enforcer import Enforcer
from sidecar.requests import AdmitRequest, ResolveRequest


class DecisionHandlers:
    """The operations over an enforcer."""

    def __init__(self, enforcer: Enforcer) -> None:
        self._enforcer = enforcer

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of all operations."""
        admit = [web.post(f"/v1/{name}", self._admit(name)) for name in (Operation.CHECK, Operation.RESERVE)]
        names = (Operation.SETTLE, Operation.RELEASE, Operation.EXTEND)
        return [
            *admit,
            *[web.post(f"/v1/{name}", self._resolve(name)) for name in names],
            web.post("/v1/batch", self.batch),
        ]

    def _admit(self, operation: Operation) -> Any:
        enforcer = self._enforcer

        async def handle(request: web.Request) -> web.Response:
            body = await read_body(request)
            decision = await enforcer.admit(cast("AdmitRequest", decode_request(operation, body)))
            return respond(request, encode_answer(decision))

        return handle

    def _resolve(self, operation: Operation) -> Any:
        enforcer = self._enforcer

        async def handle(request: web.Request) -> web.Response:
            body = await read_body(request)
            settlement = await enforcer.resolve(cast("ResolveRequest", decode_request(operation, body)))
            return respond(request, encode_answer(settlement))

        return handle

    async def batch(self, request: web.Request) -> web.Response:
        """Answer up to 256 operations in order; one that is wrong or fails has a `problem` in its place."""
        entries = decode_batch(await read_body(request))
        valid = [entry for entry in entries if not isinstance(entry, LedgerError)]
        answers = iter(await self._enforcer.batch(valid))
        results = [_result(entry if isinstance(entry, LedgerError) else next(answers)) for entry in entries]
        return respond(request, {"results": results})


def _result(answer: Decision | Settlement | LedgerError) -> dict[str, Any]:
    if isinstance(answer, LedgerError):
        return {"problem": problem_fields(answer)}
    return encode_answer(answer)


async def read_body(request: web.Request) -> Any:
    """Return the decoded body; an Accept that cannot be served is refused here, before anything is charged."""
    answers_msgpack(request)
    return decode_body(await request.read(), request.content_type)


def answers_msgpack(request: web.Request) -> bool:
    """Say which format the caller wants; raises `NotAcceptable` if it is neither."""
    return wants_msgpack(request.headers.get("Accept"), request.content_type)


def respond(request: web.Request, value: object) -> web.Response:
    """Return a 200 in the format that the caller wants."""
    as_msgpack = answers_msgpack(request)
    return web.Response(body=encode_body(value, as_msgpack=as_msgpack), content_type=MSGPACK if as_msgpack else JSON)
