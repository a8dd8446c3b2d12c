"""Handlers of the supervisor's admin listener: health, metrics and the API's description for all workers."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from ledger.errors import LedgerError
from sidecar.api.openapi import openapi_document
from sidecar.worker_admin import OK, WorkerAdmin
from sidecar.worker_metrics import merge_metrics


class NoWorker(LedgerError):
    """No worker answers; they are starting, or the log says what keeps them from it."""

    code = "not_ready"
    status = 503


class SupervisorHandlers:
    """Liveness says that the supervisor runs; readiness that every worker that answers has rules in force."""

    def __init__(self, workers: WorkerAdmin) -> None:
        self._workers = workers
        self._document = openapi_document()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes: those of a sidecar without workers."""
        return [
            web.get("/livez", self.live),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
            web.get("/openapi.json", self.openapi),
        ]

    async def live(self, _request: web.Request) -> web.Response:
        """Answer 200 as long as the supervisor runs; it starts workers again by itself."""
        return web.json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """Answer what the least ready of the workers answers."""
        answers = await self._workers.ask("/readyz")
        if not answers:
            raise NoWorker("no worker answers yet")
        status, body = max(answers.values(), key=lambda answer: answer[0])
        content_type = "application/json" if status == OK else "application/problem+json"
        return web.Response(status=status, body=body, content_type=content_type)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer the metrics of all workers that answer, each sample with its worker."""
        answers = await self._workers.ask("/metrics")
        texts = {number: body.decode() for number, (status, body) in answers.items() if status == OK}
        return web.Response(body=merge_metrics(texts), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def openapi(self, _request: web.Request) -> web.Response:
        """Answer the OpenAPI document."""
        return web.json_response(self._document)
