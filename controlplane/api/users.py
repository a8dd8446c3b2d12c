"""Handlers of one user: now, by day, and adjustments."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from controlplane.adjusting import MAX_NOTE_LENGTH, AdjustableLedger, AdjustmentRequest, adjust
from controlplane.api.access import actor_name
from controlplane.api.answers import answer
from controlplane.api.bodies import read_object
from controlplane.api.queries import Query
from controlplane.api.user_fields import adjusted_fields, days_fields, user_fields
from controlplane.usage import UsageReader
from ledger.errors import InvalidInput
from ledger.moments import parse_moment
from ledger.money import parse_signed_usd
from ledger.names import parse_name, parse_request_id
from ledger.rules import RuleSet
from ledger.spend_reader import DAYS_KEPT

ADJUST_FIELDS: Final = ("request_id", "usd", "note", "at", "tier")
USER: Final = r"/api/v1/users/{user_id:[^/]+}"


class UserHandlers:
    """What one user has spent, which rules apply, and corrections of it."""

    def __init__(self, usage: UsageReader, ledger: AdjustableLedger, *, rules: Callable[[], RuleSet]) -> None:
        self._usage = usage
        self._ledger = ledger
        self._rules = rules

    def routes(self) -> list[web.RouteDef]:
        """Return the routes. A slash in a user id is sent as ``%2F``."""
        return [
            web.get(USER, self.now),
            web.get(f"{USER}/days", self.days),
            web.post(f"{USER}/adjust", self.adjust),
        ]

    async def now(self, request: web.Request) -> web.Response:
        """Answer a user's windows, budgets, rules and open holds."""
        tier = Query(request, ["tier"]).name("tier", refuse_any_tier=True)
        return answer(user_fields(await self._usage.user(self._rules(), _user_id(request), tier)))

    async def days(self, request: web.Request) -> web.Response:
        """Answer a user's spend by day, today last."""
        days = Query(request, ["days"]).number("days", default=DAYS_KEPT, largest=DAYS_KEPT)
        user_id, rule_set = _user_id(request), self._rules()
        spends = await self._usage.days(rule_set, user_id, days)
        return answer(days_fields(user_id, rule_set.workspace.calendar.timezone, spends))

    async def adjust(self, request: web.Request) -> web.Response:
        """Credit, refund or correct what a user has spent."""
        Query(request, [])
        body = await read_object(request, ADJUST_FIELDS)
        wanted = read_adjustment(_user_id(request), body)
        adjusted = await adjust(self._ledger, self._rules(), wanted, actor=actor_name(request))
        return answer(adjusted_fields(adjusted))


def read_adjustment(user_id: str, body: Mapping[str, Any]) -> AdjustmentRequest:
    """Return the adjustment of a body; raises `InvalidInput` naming the field."""
    tier, at = body.get("tier"), body.get("at")
    amount_nanos = parse_signed_usd(_required(body, "usd"), field="usd")
    if amount_nanos == 0:
        raise InvalidInput("usd must not be zero", field="usd")
    return AdjustmentRequest(
        user_id=user_id,
        request_id=parse_request_id(_required(body, "request_id")),
        amount_nanos=amount_nanos,
        tier=None if tier is None else parse_name(tier, field="tier", refuse_any_tier=True),
        at_ms=None if at is None else parse_moment(at, field="at"),
        note=_note(_required(body, "note")),
    )


def _required(body: Mapping[str, Any], name: str) -> object:
    if body.get(name) is None:
        raise InvalidInput(f"{name} is required", field=name)
    return body[name]


def _note(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput("note must be text that says why", field="note")
    if len(value) > MAX_NOTE_LENGTH:
        raise InvalidInput(f"note has more than {MAX_NOTE_LENGTH} characters", field="note")
    return value.strip()


def _user_id(request: web.Request) -> str:
    return parse_name(request.match_info["user_id"], field="user_id")
