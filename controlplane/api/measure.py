"""Counts requests and their time under the pattern of their route, so that no user's id becomes a label."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from controlplane.metrics import Metrics

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
UNKNOWN: Final = "other"
STREAMS: Final = "text/event-stream"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def measure_middleware(metrics: Metrics) -> Any:
    """Return the middleware; it is the outermost one, so that problems count as what they are answered with."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        response = await _answered(request, handler)
        resource = request.match_info.route.resource
        route = UNKNOWN if resource is None else resource.canonical
        method = request.method if request.method in METHODS else UNKNOWN
        seconds = None if response.content_type == STREAMS else time.monotonic() - started
        metrics.record_request(method, route, response.status, seconds)
        return response

    return middleware


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as redirect:
        return web.Response(status=redirect.status, headers={"Location": redirect.headers["Location"]})
