"""The way of a decision through the listener: one lookup, the access check, the handler.

aiohttp's application resolves, wraps and freezes for every request what is the same for all of them, which costs more
than deciding does (docs/decisions/0007). The POSTs of decisions are answered before it; everything else, and every
request that asks for more than a plain one, goes through it as usual.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from sidecar.api.connection import DecisionConnection
from sidecar.api.problems import answer_problem
from sidecar.metrics import Metrics

Handler = Callable[[Any], Awaitable[web.StreamResponse]]


def direct_routes(
    routes: list[web.RouteDef], check: Callable[[web.BaseRequest], None], metrics: Metrics
) -> Callable[[Handler], Handler]:
    """Return what wraps a server's general handler, so that plain POSTs to `routes` do not reach it.

    They meet the same `check` and the same problems there as in an application's middlewares.
    """
    handlers: Mapping[str, Handler] = {route.path: route.handler for route in routes if route.method == "POST"}

    def wrap(general: Handler) -> Handler:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            handler = handlers.get(request.raw_path)
            is_plain = handler is not None and request.method == "POST" and "Expect" not in request.headers
            try:
                if handler is None or not is_plain:
                    return await general(request)
                check(request)
                return await handler(request)
            except Exception as error:
                if not is_plain:
                    raise
                is_plain = False
                return answer_problem(error, request, metrics)
            finally:
                if isinstance(request.protocol, DecisionConnection):
                    request.protocol.end_request(request, is_plain=is_plain)

        return handle

    return wrap
