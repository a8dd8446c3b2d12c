"""Handler of usage events, where ``@llmcosttracker/sdk`` finds its endpoint."""

import hmac
from typing import Any

from aiohttp import web

from ledger.decisions import Settlement
from ledger.errors import LedgerError
from ledger.usage_events import UsageEvent, api_key_of, parse_usage_event
from ledger.wire import charge_fields
from sidecar.api.access import EVENTS_PATH, Unauthorized, has_token
from sidecar.api.bodies import decode_body
from sidecar.api.decisions import answer, answers_msgpack
from sidecar.event_recorder import EventRecorder
from sidecar.metrics import Metrics


class UsageEventHandlers:
    """`token` None takes events from everybody who reaches the listener; else they bring it, as a header or as key."""

    def __init__(self, recorder: EventRecorder, metrics: Metrics, *, token: str | None) -> None:
        self._recorder = recorder
        self._metrics = metrics
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post(EVENTS_PATH, self.post)]

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Price and charge one event."""
        try:
            as_msgpack = answers_msgpack(request)
            body = decode_body(await request.read(), request.content_type)
            self._check(request, body)
            event = parse_usage_event(body)
        except LedgerError as error:
            self._metrics.record_usage_event(error.code)
            raise
        return answer(_fields(event, await self._recorder.record(event)), as_msgpack=as_msgpack)

    def _check(self, request: web.Request, body: object) -> None:
        token = self._token
        if token is None or has_token(request, token):
            return
        if not hmac.compare_digest(api_key_of(body).encode(errors="surrogateescape"), token.encode()):
            raise Unauthorized("send the token as api_key, or as `Authorization: Bearer ...`")


def _fields(event: UsageEvent, settlement: Settlement) -> dict[str, Any]:
    return charge_fields(settlement, model=event.model, group=event.group)
