"""The two aiohttp applications of a sidecar, made of handlers and middlewares."""

from collections.abc import Callable

from aiohttp import web

from sidecar.api.access import access_middleware
from sidecar.api.admin import AdminHandlers
from sidecar.api.decisions import DecisionHandlers
from sidecar.api.problems import problem_middleware
from sidecar.api.rules import RuleHandlers
from sidecar.api.users import UserHandlers
from sidecar.enforcer import Enforcer
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache
from sidecar.settings import Settings, is_loopback


def make_decision_app(*, enforcer: Enforcer, rules: RuleCache, settings: Settings, metrics: Metrics) -> web.Application:
    """Return the application that answers decisions."""
    access = access_middleware(is_local=is_loopback(settings.host), token=settings.decision_token)
    app = web.Application(middlewares=[problem_middleware(metrics), access], client_max_size=settings.max_body_bytes)
    app.add_routes(DecisionHandlers(enforcer).routes())
    app.add_routes(UserHandlers(enforcer).routes())
    app.add_routes(
        RuleHandlers(
            rules,
            metrics,
            push_token=settings.push_token,
            has_file=settings.rules is not None,
            max_bytes=settings.max_rules_bytes,
        ).routes()
    )
    return app


def make_admin_app(*, rules: RuleCache, metrics: Metrics, queue_depth: Callable[[], int]) -> web.Application:
    """Return the application for probes, scrapes and the API's description."""
    app = web.Application(middlewares=[problem_middleware(metrics)])
    app.add_routes(AdminHandlers(rules, metrics, queue_depth=queue_depth).routes())
    return app
