"""A ledger with a clock that tests set and a book they read, and a caller who asks it as the sidecar does."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from ledger.adjustments import Adjusted, Adjustment, adjustment_sent
from ledger.breakdown import Rows
from ledger.decisions import CounterState, Decision, Operation, Settlement, StalePlan
from ledger.errors import LedgerError
from ledger.memory_ledger import MemoryLedger
from ledger.money import NANOS_PER_USD
from ledger.operations import Admission, Admitted, Ledger, Resolution, Resolved, sent_text
from ledger.plans import Plan, compile_plan, plan_without_user
from ledger.rules import (
    ALLOW,
    Action,
    OnExpiry,
    Policy,
    PolicyKind,
    Rule,
    RuleKind,
    RuleSet,
    RuleStatus,
    Workspace,
    rule_id,
)
from ledger.windows import Calendar, Window, WindowType

NOON_MS = 1_769_860_800_000
"""2026-01-31 12:00 UTC, a Saturday: 44 hours from here cross a day, a month and both week starts."""

HOUR_MS = 3_600_000
FAR_MS = 1 << 52


def nanos(usd: float) -> int:
    """Return the nano-USD of a small amount."""
    return round(usd * NANOS_PER_USD)


class Book(Protocol):
    """What tests read of a ledger's state. Events are dicts of text; tallies are without zeros."""

    async def counter(self, window: Window, user_id: str) -> CounterState:
        """Return a user's counter; zero if it does not exist."""
        ...

    async def tier_total(self, window: Window, tier: str) -> CounterState:
        """Return a tier's spend and calls; zero if it does not exist."""
        ...

    async def tally(self, window: Window, rule_id: str) -> dict[str, int]:
        """Return the counts of a rule in a window."""
        ...

    async def breakdown(self, day: Window) -> Rows:
        """Return what was used in a day of the workspace."""
        ...

    async def events(self) -> list[dict[str, str]]:
        """Return the whole enforcement log in order."""
        ...

    async def unattributed(self) -> tuple[int, int]:
        """Return count and nano-USD of the settles that belong to no hold."""
        ...


@dataclass(frozen=True, slots=True)
class MemoryBook:
    """The book of a `MemoryLedger`."""

    ledger: MemoryLedger

    async def counter(self, window: Window, user_id: str) -> CounterState:
        """See `Book`."""
        return self.ledger.counter(window, user_id)

    async def tier_total(self, window: Window, tier: str) -> CounterState:
        """See `Book`."""
        return self.ledger.tier_total(window, tier)

    async def tally(self, window: Window, rule_id: str) -> dict[str, int]:
        """See `Book`."""
        return self.ledger.tally(window, rule_id)

    async def breakdown(self, day: Window) -> Rows:
        """See `Book`."""
        return self.ledger.breakdown(day)

    async def events(self) -> list[dict[str, str]]:
        """See `Book`."""
        return [dict(event) for event in self.ledger.events()]

    async def unattributed(self) -> tuple[int, int]:
        """See `Book`."""
        kept = self.ledger.unattributed()
        return kept.count, kept.nanos


@dataclass(frozen=True, slots=True)
class LedgerUnderTest:
    """A ledger, its clock, how to set that clock (Unix ms), and its book."""

    ledger: Ledger
    clock: Callable[[], int]
    set_time: Callable[[int], Awaitable[None]]
    book: Book


def memory_under_test(kind: type[MemoryLedger] = MemoryLedger, *, at_ms: int = NOON_MS) -> LedgerUnderTest:
    """Return a fresh `MemoryLedger` (or a subclass of it) with a clock that stands still until it is set."""
    times = [at_ms]

    async def set_time(time_ms: int) -> None:
        times[0] = time_ms

    ledger = kind(clock=lambda: times[0])
    return LedgerUnderTest(ledger, lambda: times[0], set_time, MemoryBook(ledger))


def rule(key: str = "alice", limit_usd: float | None = 10, **changes: Any) -> Rule:
    """Return a rule of 10 USD a month that blocks; `changes` are fields of `Rule`."""
    kind = changes.pop("kind", RuleKind.USER_OVERRIDE)
    window = changes.pop("window", WindowType.MONTH)
    fields: dict[str, Any] = {
        "id": rule_id(kind, key, window),
        "action": Action.BLOCK,
        "thresholds_pct": (80,),
        "status": RuleStatus.ACTIVE,
        "calendar": Calendar("UTC"),
        "on_store_failure": ALLOW,
        "on_unpriced": ALLOW,
    }
    limit_nanos = None if limit_usd is None else nanos(limit_usd)
    return Rule(kind=kind, key=key, limit_nanos=limit_nanos, window=window, **(fields | changes))


def template(key: str, limit_usd: float | None = 10, **changes: Any) -> Rule:
    """Return a tier template; see `rule`."""
    return rule(key, limit_usd, kind=RuleKind.TIER_TEMPLATE, **changes)


def rules(*entries: Rule, revision: int = 1, **workspace: Any) -> RuleSet:
    """Return a rule set; `workspace` are fields of `Workspace`."""
    return RuleSet.of(revision=revision, workspace=Workspace(**workspace), rules=entries)


def released_at_expiry(*entries: Rule) -> RuleSet:
    """Return a rule set whose holds are given back at their deadline."""
    return rules(*entries, on_expiry=OnExpiry.RELEASE)


def charging(usd: float) -> Policy:
    """Return the policy that charges an unpriced usage this much."""
    return Policy(PolicyKind.AMOUNT, nanos(usd))


@dataclass(slots=True)
class Caller:
    """Asks a ledger one operation at a time, in USD, with the plan of `rule_set` at the ledger's time."""

    under_test: LedgerUnderTest
    rule_set: RuleSet
    numbers: Iterator[int] = field(default_factory=count)

    def plan(self, user_id: str = "alice", tier: str | None = None, *, at_ms: int | None = None) -> Plan:
        """Return the plan of a user now, or at another time."""
        return compile_plan(self.rule_set, user_id, tier, self.under_test.clock() if at_ms is None else at_ms)

    def admission(self, operation: Operation, usd: float, **changes: Any) -> Admission:
        """Return a check or a reserve; `changes` are fields of `Admission`, `tier` and `ttl_s`."""
        user_id, tier = changes.pop("user_id", "alice"), changes.pop("tier", None)
        ttl_ms = changes.pop("ttl_s", 600) * 1000 if operation is Operation.RESERVE else 0
        fields: dict[str, Any] = {
            "plan": self.plan(user_id, tier),
            "request_id": f"made-{next(self.numbers)}",
            "sent": sent_text(operation, tier, str(nanos(usd)), ttl_ms),
            "not_after_ms": FAR_MS,
        }
        fields |= changes
        return Admission(operation=operation, user_id=user_id, amount_nanos=nanos(usd), ttl_ms=ttl_ms, **fields)

    async def admit(self, *admissions: Admission) -> list[Admitted]:
        """Send a list of admissions."""
        return await self.under_test.ledger.admit(admissions)

    async def try_check(self, usd: float, **changes: Any) -> Admitted:
        """Check an amount; return whatever comes."""
        return (await self.admit(self.admission(Operation.CHECK, usd, **changes)))[0]

    async def check(self, usd: float, **changes: Any) -> Decision:
        """Check an amount; the answer must be a decision."""
        return _decision(await self.try_check(usd, **changes))

    async def try_reserve(self, usd: float, **changes: Any) -> Admitted:
        """Reserve an estimate; return whatever comes."""
        return (await self.admit(self.admission(Operation.RESERVE, usd, **changes)))[0]

    async def reserve(self, usd: float, **changes: Any) -> Decision:
        """Reserve an estimate; the answer must be a decision."""
        return _decision(await self.try_reserve(usd, **changes))

    async def resolve(self, operation: Operation, request_id: str = "", **changes: Any) -> Resolved:
        """Do one operation on a hold; return whatever comes."""
        user_id = changes.pop("user_id", "alice")
        resolution = Resolution(operation=operation, user_id=user_id, request_id=request_id, **changes)
        return (await self.under_test.ledger.resolve([resolution]))[0]

    async def try_settle(self, request_id: str, usd: float | None, **changes: Any) -> Resolved:
        """Settle; None is a usage without a price, `reserved_at_ms` brings the plan of that moment with it."""
        amount = None if usd is None else nanos(usd)
        sent = sent_text(Operation.SETTLE, None, "usage" if amount is None else str(amount), 0)
        tier = changes.pop("tier", None)
        if "reserved_at_ms" in changes:
            changes["plan"] = self.plan(changes.get("user_id", "alice"), tier, at_ms=changes["reserved_at_ms"])
        return await self.resolve(Operation.SETTLE, request_id, amount_nanos=amount, **({"sent": sent} | changes))

    async def settle(self, request_id: str, usd: float | None, **changes: Any) -> Settlement:
        """Settle; the answer must be a settlement."""
        return _settlement(await self.try_settle(request_id, usd, **changes))

    async def release(self, request_id: str, **changes: Any) -> Settlement:
        """Give a hold back; the answer must be a settlement."""
        return _settlement(await self.resolve(Operation.RELEASE, request_id, **changes))

    async def extend(self, request_id: str, ttl_s: int = 600, **changes: Any) -> Settlement:
        """Keep a hold alive; the answer must be a settlement."""
        return _settlement(await self.resolve(Operation.EXTEND, request_id, ttl_ms=ttl_s * 1000, **changes))

    async def expire(self, user_id: str = "alice") -> Resolved:
        """Resolve the user's due holds, as the sweeper does."""
        return await self.resolve(Operation.EXPIRE, user_id=user_id)

    async def try_record(self, usd: float | None, **changes: Any) -> Resolved:
        """Charge a call that was made without asking; `user_id` None is nobody's, `usd` None has no price."""
        user_id, tier = changes.pop("user_id", "alice"), changes.pop("tier", None)
        at_ms = changes.get("reserved_at_ms", self.under_test.clock())
        amount = None if usd is None else nanos(usd)
        planned = (
            plan_without_user(self.rule_set, tier, at_ms) if user_id is None else self.plan(user_id, tier, at_ms=at_ms)
        )
        fields: dict[str, Any] = {
            "plan": planned,
            "request_id": f"made-{next(self.numbers)}",
            "sent": sent_text(Operation.RECORD, tier, "usage" if amount is None else str(amount), 0),
        }
        resolution = Resolution(
            operation=Operation.RECORD, user_id=user_id or "", amount_nanos=amount, **(fields | changes)
        )
        return (await self.under_test.ledger.resolve([resolution]))[0]

    async def record(self, usd: float | None, **changes: Any) -> Settlement:
        """Charge a call that was made without asking; it must have been done."""
        return _settlement(await self.try_record(usd, **changes))

    def adjustment(self, usd: float, **changes: Any) -> Adjustment:
        """Return an operator's adjustment; `changes` are fields of `Adjustment` and `tier`."""
        user_id, tier, at_ms = changes.pop("user_id", "alice"), changes.pop("tier", None), changes.pop("at_ms", None)
        fields: dict[str, Any] = {
            "plan": self.plan(user_id, tier, at_ms=at_ms),
            "request_id": f"made-{next(self.numbers)}",
            "sent": adjustment_sent(tier, nanos(usd), at_ms),
        }
        return Adjustment(user_id=user_id, amount_nanos=nanos(usd), at_ms=at_ms, **(fields | changes))

    async def try_adjust(self, usd: float, **changes: Any) -> Adjusted | StalePlan:
        """Adjust; return whatever comes."""
        return await self.under_test.ledger.adjust(self.adjustment(usd, **changes))

    async def adjust(self, usd: float, **changes: Any) -> Adjusted:
        """Adjust; it must have been done."""
        adjusted = await self.try_adjust(usd, **changes)
        assert isinstance(adjusted, Adjusted), adjusted
        return adjusted

    async def counter(
        self, window: WindowType = WindowType.MONTH, user_id: str = "alice", *, at_ms: int | None = None
    ) -> CounterState:
        """Return the user's counter of a window type in the workspace's calendar."""
        plan = self.plan(user_id, at_ms=at_ms)
        found = next(entry.window for entry in plan.counters if entry.window.type is window)
        return await self.under_test.book.counter(found, user_id)

    async def spent_and_held(self, user_id: str = "alice") -> tuple[int, int]:
        """Return spend and held of the user's month, nano-USD."""
        state = await self.counter(user_id=user_id)
        return state.spend_nanos, state.held_nanos

    async def tally(self, entry: Rule, *, at_ms: int | None = None) -> dict[str, int]:
        """Return the counts of a rule in its current window."""
        plan = self.plan(entry.key if entry.kind is RuleKind.USER_OVERRIDE else "alice", entry.key, at_ms=at_ms)
        window = next(planned.terms.window for planned in plan.budgets if planned.terms.rule_id == entry.id)
        return await self.under_test.book.tally(window, entry.id)

    async def event_types(self) -> list[str]:
        """Return the types of all events in order."""
        return [event["type"] for event in await self.under_test.book.events()]

    async def pass_time(self, hours: float) -> None:
        """Let the ledger's clock go on."""
        await self.under_test.set_time(self.under_test.clock() + round(hours * HOUR_MS))


def refusal(admitted: Admitted | Resolved) -> tuple[type[object], str, str | None]:
    """Return type, code and field of an error, as two ledgers must give it alike."""
    assert isinstance(admitted, LedgerError), admitted
    return type(admitted), admitted.code, admitted.field


def _decision(admitted: Admitted) -> Decision:
    assert isinstance(admitted, Decision), admitted
    return admitted


def _settlement(resolved: Resolved) -> Settlement:
    assert isinstance(resolved, Settlement), resolved
    return resolved
