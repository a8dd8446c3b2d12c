"""The routes that show what was spent and decided, and correct it: handlers joined to what they read from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from controlplane.adjusting import AdjustableLedger
from controlplane.api.breakdown import BreakdownHandlers
from controlplane.api.dry_run import DryRunHandlers
from controlplane.api.event_stream import LiveSources
from controlplane.api.events import EventHandlers
from controlplane.api.sidecars import SidecarHandlers, sidecar_summary
from controlplane.api.tiers import TierHandlers
from controlplane.api.usage import UsageHandlers
from controlplane.api.users import UserHandlers
from controlplane.sidecars import SidecarBoard
from controlplane.usage import UsageReader
from ledger.breakdown_reader import BreakdownReader
from ledger.event_log import EventLog
from ledger.rule_book import RuleBook
from ledger.rules import RuleSet
from ledger.spend_reader import SpendReader


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadParts:
    """What the handlers read from. `book` gives the rules of now, `is_closing` ends the live streams."""

    log: EventLog
    spend: SpendReader
    breakdown: BreakdownReader
    ledger: AdjustableLedger
    board: SidecarBoard
    book: Callable[[], RuleBook]
    is_closing: Callable[[], bool]


def read_routes(parts: ReadParts) -> list[web.RouteDef]:
    """Return the routes of events, users, usage, tiers, dry runs, the breakdown and sidecars."""

    def rules() -> RuleSet:
        return parts.book().rule_set()

    async def sidecars() -> dict[str, Any]:
        return sidecar_summary(await parts.board.now())

    usage = UsageReader(parts.spend, parts.log)
    live = LiveSources(log=parts.log, revision=lambda: parts.book().revision, sidecars=sidecars)
    return [
        *EventHandlers(live, is_closing=parts.is_closing).routes(),
        *UserHandlers(usage, parts.ledger, rules=rules).routes(),
        *UsageHandlers(usage, rules=rules).routes(),
        *TierHandlers(usage, rules=rules).routes(),
        *DryRunHandlers(parts.spend, rules=rules).routes(),
        *BreakdownHandlers(parts.breakdown, parts.spend, rules=rules).routes(),
        *SidecarHandlers(parts.board).routes(),
    ]
