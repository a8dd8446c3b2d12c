"""Handlers of usage and explain, and how their answers look."""

from typing import Any

from aiohttp import web

from ledger.names import parse_name
from ledger.rule_fields import ALLOWANCE, CHARGE
from ledger.rule_parsing import dump_rule
from ledger.windows import rfc3339
from ledger.wire import budget_fields, counter_fields, policy_value, window_fields
from sidecar.api.decisions import respond
from sidecar.enforcer import Enforcer
from sidecar.views import BudgetUsage, Explanation, UsageView


class UserHandlers:
    """What one user has spent, and which rules apply."""

    def __init__(self, enforcer: Enforcer) -> None:
        self._enforcer = enforcer

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get(r"/v1/usage/{user_id:[\s\S]+}", self.usage), web.get("/v1/explain", self.explain)]

    async def usage(self, request: web.Request) -> web.Response:
        """Answer day, week and month, each matching budget, and the open holds of a user."""
        user_id = parse_name(request.match_info["user_id"], field="user_id")
        return respond(request, encode_usage(await self._enforcer.usage(user_id, _tier(request))))

    async def explain(self, request: web.Request) -> web.Response:
        """Answer which rules apply to a user now and which were skipped, and why."""
        user_id = parse_name(request.query.get("user_id"), field="user_id")
        return respond(request, encode_explanation(self._enforcer.explain(user_id, _tier(request))))


def _tier(request: web.Request) -> str | None:
    tier = request.query.get("tier")
    return None if tier is None else parse_name(tier, field="tier", refuse_any_tier=True)


def encode_usage(view: UsageView) -> dict[str, Any]:
    """Return a usage view for the wire."""
    return {
        "user_id": view.user_id,
        "tier": view.tier,
        "at": rfc3339(view.at_ms),
        "rules_revision": view.rules_revision,
        "open_holds": view.open_holds,
        "windows": [{**window_fields(entry.window), **counter_fields(entry.counter)} for entry in view.windows],
        "budgets": [_budget(entry) for entry in view.budgets],
    }


def _budget(entry: BudgetUsage) -> dict[str, Any]:
    terms = entry.terms
    return {
        "rule_id": terms.rule_id,
        "rule_kind": terms.rule_kind,
        "action": terms.action,
        **window_fields(terms.window),
        **budget_fields(entry.counter, terms.limit_nanos),
    }


def encode_explanation(view: Explanation) -> dict[str, Any]:
    """Return an explanation for the wire; rules have the shape of a rule file."""
    workspace = view.workspace
    calendar = workspace.calendar
    return {
        "user_id": view.user_id,
        "tier": view.tier,
        "at": rfc3339(view.at_ms),
        "rules_revision": view.rules_revision,
        "plan": workspace.plan,
        "mode": workspace.mode,
        "counts_as_any_tier": view.match.counts_as_any_tier,
        "on_store_failure": policy_value(view.on_store_failure, ALLOWANCE),
        "on_unpriced": policy_value(view.on_unpriced, CHARGE),
        "rules": [dump_rule(rule, calendar) for rule in view.rules],
        "skipped": [{"why": entry.why, "rule": dump_rule(entry.rule, calendar)} for entry in view.match.skipped],
    }
