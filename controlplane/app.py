"""The two aiohttp applications of a control plane, made of handlers and middlewares."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from controlplane import keys
from controlplane.adjusting import AdjustableLedger
from controlplane.api.access import API, PUBLIC, Access, access_middleware
from controlplane.api.admin import AdminHandlers
from controlplane.api.audit import AuditHandlers
from controlplane.api.description import DescriptionHandlers
from controlplane.api.measure import measure_middleware
from controlplane.api.overrides import OverrideImportHandlers, RuleCsvHandlers
from controlplane.api.prices import PriceHandlers
from controlplane.api.problems import problem_middleware
from controlplane.api.reads import ReadParts, read_routes
from controlplane.api.rule_items import RuleItemHandlers
from controlplane.api.rules import RuleSetHandlers
from controlplane.api.security_headers import add_security_headers
from controlplane.api.session import SessionHandlers
from controlplane.api.settings import SettingsHandlers
from controlplane.api.usage_events import UsageEventHandlers
from controlplane.api.webhooks import WebhookHandlers
from controlplane.metrics import Metrics
from controlplane.registry import Registry
from controlplane.rule_lists import RuleLists
from controlplane.settings import Settings
from controlplane.sidecars import SidecarBoard
from controlplane.usage import UsageReader
from controlplane.web.pages import PageHandlers
from controlplane.webhook_teller import WebhookTeller
from ledger.breakdown_reader import BreakdownReader
from ledger.errors import StoreUnavailable
from ledger.event_log import EventLog
from ledger.operations import Ledger
from ledger.rules import RuleKind
from ledger.spend_reader import SpendReader

MAX_BODY_BYTES: Final = 1024 * 1024
SECONDS_PER_HOUR: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What stands behind the handlers."""

    settings: Settings
    metrics: Metrics
    access: Access
    registry: Registry
    event_log: EventLog
    spend: SpendReader
    breakdown: BreakdownReader
    ledger: Ledger
    adjustments: AdjustableLedger
    board: SidecarBoard
    tellers: Mapping[str, WebhookTeller]


def make_page_app(parts: Parts) -> web.Application:
    """Return the application that serves the page and its API."""
    middlewares = [
        measure_middleware(parts.metrics),
        problem_middleware(parts.metrics),
        access_middleware(parts.access),
        _rules_middleware(parts.registry),
    ]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    add_security_headers(app, is_secure=parts.access.origins.is_secure)
    app[keys.SETTINGS] = parts.settings
    app[keys.ACCESS] = parts.access
    app[keys.REGISTRY] = parts.registry
    app[keys.EVENT_LOG] = parts.event_log
    app[keys.SPEND_READER] = parts.spend
    app[keys.SIDECARS] = parts.board
    app[keys.TEMPLATES] = _lists(parts, RuleKind.TIER_TEMPLATE)
    app[keys.OVERRIDES] = _lists(parts, RuleKind.USER_OVERRIDE)
    app.add_routes(_routes(app, parts))
    return app


def make_admin_app(*, metrics: Metrics, is_ready: Callable[[], bool]) -> web.Application:
    """Return the application for probes and scrapes."""
    app = web.Application(middlewares=[problem_middleware(metrics)])
    app.add_routes(AdminHandlers(metrics, is_ready=is_ready).routes())
    return app


def _routes(app: web.Application, parts: Parts) -> Iterable[web.AbstractRouteDef]:
    closing: list[bool] = []

    async def close(_app: web.Application) -> None:
        closing.append(True)

    app.on_shutdown.append(close)
    reads = ReadParts(
        log=parts.event_log,
        spend=parts.spend,
        breakdown=parts.breakdown,
        ledger=parts.adjustments,
        board=parts.board,
        book=lambda: parts.registry.book,
        is_closing=lambda: bool(closing),
    )
    lifetime_s = parts.settings.session_hours * SECONDS_PER_HOUR
    return [
        *SessionHandlers(parts.access, lifetime_s=lifetime_s).routes(),
        *OverrideImportHandlers(parts.registry, max_bytes=parts.settings.max_rules_bytes).routes(),
        *RuleSetHandlers(parts.registry, max_bytes=parts.settings.max_rules_bytes).routes(),
        *SettingsHandlers(parts.registry).routes(),
        *PriceHandlers(parts.registry, max_bytes=parts.settings.max_rules_bytes).routes(),
        *AuditHandlers(parts.registry).routes(),
        *DescriptionHandlers().routes(),
        *WebhookHandlers(parts.tellers).routes(),
        *(route for lists in (app[keys.TEMPLATES], app[keys.OVERRIDES]) for route in _rule_routes(parts, lists)),
        *read_routes(reads),
        *UsageEventHandlers(parts.access, parts.registry, parts.ledger).routes(),
        *PageHandlers(book=lambda: parts.registry.book, has_login=parts.access.tokens.guard).routes(),
    ]


def _rule_routes(parts: Parts, lists: RuleLists) -> list[web.RouteDef]:
    return [*RuleItemHandlers(parts.registry, lists).routes(), *RuleCsvHandlers(lists).routes()]


def _lists(parts: Parts, kind: RuleKind) -> RuleLists:
    usage = UsageReader(parts.spend, parts.event_log)
    return RuleLists(kind, book=lambda: parts.registry.book, spend=parts.spend, usage=usage)


def _rules_middleware(registry: Registry) -> Any:
    """Return the middleware that refuses to answer for rules that were never read: an empty list would be a lie."""

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        is_api = request.path.startswith(API) and PUBLIC.fullmatch(request.path) is None
        if is_api and not registry.is_loaded:
            raise StoreUnavailable("the rules could not be read from the store yet; it is asked again and again")
        return await handler(request)

    return middleware
