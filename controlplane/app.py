"""The two aiohttp applications of a control plane, made of handlers and middlewares."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from controlplane import keys
from controlplane.api.access import Access, access_middleware
from controlplane.api.admin import AdminHandlers
from controlplane.api.measure import measure_middleware
from controlplane.api.problems import problem_middleware
from controlplane.api.security_headers import add_security_headers
from controlplane.api.session import SessionHandlers
from controlplane.metrics import Metrics
from controlplane.settings import Settings
from ledger.event_log import EventLog
from ledger.spend_reader import SpendReader

MAX_BODY_BYTES = 1024 * 1024
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What stands behind the handlers."""

    settings: Settings
    metrics: Metrics
    access: Access
    event_log: EventLog
    spend: SpendReader


def make_page_app(parts: Parts) -> web.Application:
    """Return the application that serves the page and its API."""
    middlewares = [
        measure_middleware(parts.metrics),
        problem_middleware(parts.metrics),
        access_middleware(parts.access),
    ]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    add_security_headers(app, is_secure=parts.access.origins.is_secure)
    app[keys.SETTINGS] = parts.settings
    app[keys.ACCESS] = parts.access
    app[keys.EVENT_LOG] = parts.event_log
    app[keys.SPEND_READER] = parts.spend
    lifetime_s = parts.settings.session_hours * SECONDS_PER_HOUR
    app.add_routes(SessionHandlers(parts.access, lifetime_s=lifetime_s).routes())
    return app


def make_admin_app(*, metrics: Metrics, is_ready: Callable[[], bool]) -> web.Application:
    """Return the application for probes and scrapes."""
    app = web.Application(middlewares=[problem_middleware(metrics)])
    app.add_routes(AdminHandlers(metrics, is_ready=is_ready).routes())
    return app
