"""The two aiohttp applications of a sidecar, made of handlers and middlewares."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from sidecar.api.access import access_check, access_middleware
from sidecar.api.admin import AdminHandlers
from sidecar.api.decisions import DecisionHandlers
from sidecar.api.direct import Handler, direct_routes
from sidecar.api.problems import problem_middleware
from sidecar.api.quick_answers import QuickAnswers
from sidecar.api.rules import RuleHandlers
from sidecar.api.stream import StreamHandlers
from sidecar.api.supervisor import SupervisorHandlers
from sidecar.api.usage_events import UsageEventHandlers
from sidecar.api.users import UserHandlers
from sidecar.enforcer import Enforcer
from sidecar.event_recorder import EventRecorder
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache
from sidecar.settings import Settings, is_loopback
from sidecar.worker_admin import WorkerAdmin

DIRECT: Final[web.AppKey[Callable[[Handler], Handler]]] = web.AppKey("DIRECT")
"""Where an application keeps what its listener wraps around the general handler."""

QUICK: Final = web.AppKey("QUICK", QuickAnswers)
"""Where an application keeps what its listener's connections answer without it; traces see every call, so then not."""

CLOSE_STREAMS: Final[web.AppKey[Callable[[], Awaitable[None]]]] = web.AppKey("CLOSE_STREAMS")
"""What a listener awaits before it closes: once aiohttp has begun to, nothing that a caller sends is read."""


def make_decision_app(
    *,
    enforcer: Enforcer,
    recorder: EventRecorder,
    rules: RuleCache,
    settings: Settings,
    metrics: Metrics,
    around: Callable[[str, Handler], Handler] | None = None,
) -> web.Application:
    """Return the application that answers decisions; `around` wraps the handler of each path of theirs."""
    check = access_check(is_local=is_loopback(settings.host), token=settings.decision_token)
    middlewares = [problem_middleware(metrics), access_middleware(check)]
    app = web.Application(middlewares=middlewares, client_max_size=settings.max_body_bytes)
    decisions = DecisionHandlers(enforcer).routes()
    if around is not None:
        decisions = [web.post(route.path, around(route.path, route.handler)) for route in decisions]
    else:
        app[QUICK] = QuickAnswers(enforcer, metrics)
    app.add_routes(decisions)
    app[DIRECT] = direct_routes(decisions, check, metrics)
    streams = StreamHandlers(enforcer, metrics, max_frame_bytes=settings.max_body_bytes)
    app.add_routes(streams.routes())
    app[CLOSE_STREAMS] = streams.stop
    app.add_routes(UserHandlers(enforcer).routes())
    app.add_routes(UsageEventHandlers(recorder, metrics, token=settings.decision_token).routes())
    app.add_routes(
        RuleHandlers(
            rules,
            metrics,
            push_token=settings.push_token,
            source=settings.rules_source,
            max_bytes=settings.max_rules_bytes,
        ).routes()
    )
    return app


def make_admin_app(*, rules: RuleCache, metrics: Metrics, queue_depth: Callable[[], int]) -> web.Application:
    """Return the application for probes, scrapes and the API's description."""
    app = web.Application(middlewares=[problem_middleware(metrics)])
    app.add_routes(AdminHandlers(rules, metrics, queue_depth=queue_depth).routes())
    return app


def make_supervisor_app(workers: WorkerAdmin) -> web.Application:
    """Return the admin application of several workers' supervisor."""
    app = web.Application(middlewares=[problem_middleware(Metrics())])
    app.add_routes(SupervisorHandlers(workers).routes())
    return app
