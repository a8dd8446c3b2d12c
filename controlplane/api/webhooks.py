"""Handlers of webhooks: how each fares, and a test message to one."""

import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from controlplane.api.answers import answer
from controlplane.api.queries import Query
from controlplane.webhook_notes import trial_note
from controlplane.webhook_sender import Result
from controlplane.webhook_teller import WebhookTeller
from ledger.errors import LedgerError
from ledger.windows import rfc3339


class WebhookNotFound(LedgerError):
    """The webhook file has no webhook of this name."""

    code = "webhook_not_found"
    status = 404


class WebhookFailed(LedgerError):
    """The receiver did not take the message; the detail says why."""

    code = "webhook_failed"
    status = 502


class WebhookHandlers:
    """The webhooks of this control plane, by name."""

    def __init__(self, tellers: Mapping[str, WebhookTeller]) -> None:
        self._tellers = tellers

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/api/v1/webhooks", self.webhooks),
            web.post("/api/v1/webhooks/{name}/test", self.test),
        ]

    async def webhooks(self, request: web.Request) -> web.Response:
        """Answer every webhook: where it goes, what it is told, how far it is behind, what went wrong."""
        Query(request, [])
        return answer({"items": [await _item(teller) for teller in self._tellers.values()]})

    async def test(self, request: web.Request) -> web.Response:
        """Send a test message now, once."""
        Query(request, [])
        teller = self._tellers.get(request.match_info["name"])
        if teller is None:
            raise WebhookNotFound("there is no webhook of this name")
        attempt = await teller.attempt(trial_note(int(time.time() * 1000)))
        if attempt.result is not Result.DELIVERED:
            raise WebhookFailed(attempt.reason)
        return answer({"delivered": True})


async def _item(teller: WebhookTeller) -> dict[str, Any]:
    webhook, standing = teller.webhook, teller.standing
    backlog = await teller.queue.backlog()
    return {
        "name": webhook.name,
        "host": webhook.host,
        "format": webhook.format,
        "signed": webhook.secret is not None,
        "events": sorted(webhook.kinds),
        "tiers": None if webhook.tiers is None else sorted(webhook.tiers),
        "lag_events": backlog.lag,
        "pending_events": backlog.pending,
        "delivered": standing.delivered,
        "last_delivery_at": _moment(standing.last_delivery_ms),
        "failing_since": _moment(standing.failing_since_ms),
        "last_error": standing.last_error or None,
    }


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)
