"""Handler of usage events, where ``@llmcosttracker/sdk`` finds its endpoint."""

from aiohttp import web

from controlplane.api.access import CALLER, EVENTS_PATH, Access
from controlplane.api.answers import answer
from controlplane.auth import Caller, Forbidden, Scope, Unauthorized
from controlplane.event_recording import record_event
from controlplane.registry import Registry
from ledger.documents import decode_json
from ledger.errors import InvalidInput, StoreUnavailable
from ledger.operations import Ledger
from ledger.usage_events import api_key_of, parse_usage_event
from ledger.wire import charge_fields

NEEDED = frozenset({Scope.EVENTS})


class UsageEventHandlers:
    """Takes events from whoever may send them: by header or session, or by the `api_key` of the event."""

    def __init__(self, access: Access, registry: Registry, ledger: Ledger) -> None:
        self._access = access
        self._registry = registry
        self._ledger = ledger

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post(EVENTS_PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Price and charge one event."""
        try:
            body = decode_json(await request.read())
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"the body {error or 'is nested too deep'}", code="invalid_body") from None
        caller = request[CALLER] or self._by_key(request, body)
        if not caller.may(NEEDED):
            raise Forbidden(f"this needs the scope {Scope.EVENTS}, not {caller.scope}")
        event = parse_usage_event(body)
        if not self._registry.is_loaded:
            raise StoreUnavailable("the rules could not be read from the store yet; it is asked again and again")
        settlement = await record_event(self._ledger, self._registry.book.rule_set(), event)
        return answer(charge_fields(settlement, model=event.model, group=event.group))

    def _by_key(self, request: web.Request, body: object) -> Caller:
        key = api_key_of(body)
        if not key:
            raise Unauthorized("send the token as api_key, or as `Authorization: Bearer ...`")
        scope = self._access.log_in(key, request.remote)
        return Caller(scope=scope, actor=f"{scope} token")
