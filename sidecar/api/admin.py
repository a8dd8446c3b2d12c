"""Handlers of the admin listener: health, metrics, the API's description. They show no user's data."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from ledger.errors import LedgerError
from sidecar.api.openapi import openapi_document
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache


class NotReady(LedgerError):
    """No rule set is in force yet; push one, or name a rule file."""

    code = "not_ready"
    status = 503


class AdminHandlers:
    """Liveness says that the event loop runs; readiness that a rule set is in force; neither asks the store."""

    def __init__(self, rules: RuleCache, metrics: Metrics, *, queue_depth: Callable[[], int]) -> None:
        self._rules = rules
        self._metrics = metrics
        self._queue_depth = queue_depth
        self._document = openapi_document()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/livez", self.live),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
            web.get("/openapi.json", self.openapi),
        ]

    async def live(self, _request: web.Request) -> web.Response:
        """Answer 200 as long as the event loop runs."""
        return web.json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """Answer 200 once a rule set is in force, 503 before."""
        if not self._rules.is_loaded:
            raise NotReady("no rule set is in force yet")
        return web.json_response({"status": "ok", "rules_revision": self._rules.current.revision})

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer all metrics in Prometheus' text format."""
        self._metrics.set_queue(self._queue_depth())
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def openapi(self, _request: web.Request) -> web.Response:
        """Answer the OpenAPI document."""
        return web.json_response(self._document)
