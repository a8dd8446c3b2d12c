"""Handlers of check, reserve, settle, release, extend and batch."""

from typing import Any, cast

from aiohttp import web

from ledger.decisions import Decision, Operation, Settlement
from ledger.errors import LedgerError
from ledger.problems import problem_fields
from sidecar.api.bodies import JSON, MSGPACK, decode_body, encode_body, wants_msgpack
from sidecar.api.decode import decode_batch, decode_request
from sidecar.api.encode import encode_answer, encode_decision, encode_settlement
from sidecar.api.whole_answer import whole_answer
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

        async def handle(request: web.Request) -> web.StreamResponse:
            as_msgpack = answers_msgpack(request)
            body = decode_body(await request.read(), request.content_type)
            decision = await enforcer.admit(cast("AdmitRequest", decode_request(operation, body)))
            return answer(encode_decision(decision), as_msgpack=as_msgpack)

        return handle

    def _resolve(self, operation: Operation) -> Any:
        enforcer = self._enforcer

        async def handle(request: web.Request) -> web.StreamResponse:
            as_msgpack = answers_msgpack(request)
            body = decode_body(await request.read(), request.content_type)
            settlement = await enforcer.resolve(cast("ResolveRequest", decode_request(operation, body)))
            return answer(encode_settlement(settlement), as_msgpack=as_msgpack)

        return handle

    async def batch(self, request: web.Request) -> web.StreamResponse:
        """Answer up to 256 operations in order; one that is wrong or fails has a `problem` in its place."""
        as_msgpack = answers_msgpack(request)
        entries = decode_batch(decode_body(await request.read(), request.content_type))
        valid = [entry for entry in entries if not isinstance(entry, LedgerError)]
        answers = iter(await self._enforcer.batch(valid))
        results = [_result(entry if isinstance(entry, LedgerError) else next(answers)) for entry in entries]
        return answer({"results": results}, as_msgpack=as_msgpack)


def _result(answer: Decision | Settlement | LedgerError) -> dict[str, Any]:
    if isinstance(answer, LedgerError):
        return {"problem": problem_fields(answer)}
    return encode_answer(answer)


def answers_msgpack(request: web.BaseRequest) -> bool:
    """Say which format the caller wants; raises `NotAcceptable` if it is neither, before anything is charged."""
    return wants_msgpack(request.headers.get("Accept"), request.content_type)


def answer(value: object, *, as_msgpack: bool) -> web.StreamResponse:
    """Return a 200 to a POST, in one piece."""
    return whole_answer(encode_body(value, as_msgpack=as_msgpack), MSGPACK if as_msgpack else JSON)


def respond(request: web.Request, value: object) -> web.Response:
    """Return a 200 in the format that the caller wants."""
    as_msgpack = answers_msgpack(request)
    return web.Response(body=encode_body(value, as_msgpack=as_msgpack), content_type=MSGPACK if as_msgpack else JSON)
