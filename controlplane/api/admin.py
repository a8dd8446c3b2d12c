"""Handlers of the admin listener: health and metrics. They show no user's data and need no token."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from controlplane.metrics import Metrics
from ledger.errors import LedgerError


class NotReady(LedgerError):
    """The rules were not read from the store yet."""

    code = "not_ready"
    status = 503


class AdminHandlers:
    """Liveness says that the event loop runs; readiness that the rules were read once; neither asks the store."""

    def __init__(self, metrics: Metrics, *, is_ready: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._is_ready = is_ready

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/livez", self.live), web.get("/readyz", self.ready), web.get("/metrics", self.metrics)]

    async def live(self, _request: web.Request) -> web.Response:
        """Answer 200 as long as the event loop runs."""
        return web.json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """Answer 200 once the rules were read, 503 before."""
        if not self._is_ready():
            raise NotReady("the rules were not read from the store yet")
        return web.json_response({"status": "ok"})

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer all metrics in Prometheus' text format."""
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
