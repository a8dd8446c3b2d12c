"""Both listeners of a sidecar on real sockets, over the real enforcer and a ledger in memory with a fixed time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from ledger.decisions import UserUsage
from ledger.memory_ledger import MemoryLedger
from ledger.operations import Admission, Admitted, Resolution, Resolved
from ledger.plans import Plan
from ledger.price_parsing import parse_price_book
from ledger.rules import Action, RuleSet, Workspace
from ledger.windows import WindowType
from sidecar.app import make_admin_app, make_decision_app
from sidecar.breaker import Breaker, BreakerLimits
from sidecar.coalescer import Lane, LaneLimits
from sidecar.enforcer import Enforcer, Lanes
from sidecar.event_recorder import EventRecorder
from sidecar.failure_policy import FailurePolicy
from sidecar.journal import Journal
from sidecar.journal_files import open_journal
from sidecar.learned_outputs import LearnedOutputs
from sidecar.listeners import Listeners
from sidecar.metrics import Metrics
from sidecar.pricing import Pricing
from sidecar.rule_cache import RuleCache
from sidecar.settings import Settings
from sidecar.store_clock import StoreClock
from tests.support.allowances import memory_allowance
from tests.support.ledger_under_test import NOON_MS, rule, template

DEADLINE_S = 60.0
LIMITS = LaneLimits(max_batch=64, max_queue=1024, command_timeout_s=DEADLINE_S, deadline_s=DEADLINE_S)
PRICE = {
    "provider": "openai",
    "model": "gpt-5",
    "input_usd_per_million": "1.25",
    "output_usd_per_million": 10,
    "cache_read_usd_per_million": "0.125",
    "cache_write_usd_per_million": 0,
}


class Gate:
    """Holds admissions while it is closed."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._arrivals = asyncio.Condition()
        self.arrived = 0

    def close(self) -> None:
        """Hold what arrives from now on, and count it."""
        self._open.clear()

    def open(self) -> None:
        """Let everything through."""
        self._open.set()

    async def pass_through(self, operations: int) -> None:
        """Wait while the gate is closed."""
        if self._open.is_set():
            return
        async with self._arrivals:
            self.arrived += operations
            self._arrivals.notify_all()
        await self._open.wait()

    async def until_arrived(self, operations: int) -> None:
        """Wait until so many operations wait at the gate."""
        async with asyncio.timeout(DEADLINE_S), self._arrivals:
            await self._arrivals.wait_for(lambda: self.arrived >= operations)


class FailingLedger(MemoryLedger):
    """A ledger in memory that raises `failure`, once it has one, instead of answering."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOON_MS)
        self.failure: Exception | None = None
        self.gate = Gate()

    async def admit(self, admissions: Sequence[Admission]) -> list[Admitted]:
        """Decide once the gate is open, or fail."""
        self._fail()
        await self.gate.pass_through(len(admissions))
        return await super().admit(admissions)

    async def resolve(self, resolutions: Sequence[Resolution]) -> list[Resolved]:
        """Settle, release and extend, or fail."""
        self._fail()
        return await super().resolve(resolutions)

    async def usage(self, user_id: str, plan: Plan) -> UserUsage:
        """Read counters, or fail."""
        self._fail()
        return await super().usage(user_id, plan)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A running edge: the URLs of its listeners, and what stands behind them."""

    session: aiohttp.ClientSession
    url: str
    admin_url: str
    ledger: FailingLedger
    rules: RuleCache
    enforcer: Enforcer
    listeners: Listeners

    async def post(self, operation: str, body: object, **options: Any) -> tuple[int, Any]:
        """POST JSON to an operation; returns status and decoded answer."""
        return await self.call("POST", f"/v1/{operation}", json=body, **options)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Call the decision listener; returns status and decoded answer."""
        async with self.session.request(method, f"{self.url}{path}", **options) as response:
            return response.status, await response.json(content_type=None)

    async def admin(self, path: str) -> tuple[int, Any]:
        """GET from the admin listener; returns status and decoded answer."""
        async with self.session.get(f"{self.admin_url}{path}") as response:
            return response.status, await response.json(content_type=None)


def edge_rules(*, revision: int = 7) -> RuleSet:
    """Return templates for free (5 USD, block) and pro (50 USD, warn), an override for alice, and one price."""
    return RuleSet.of(
        revision=revision,
        workspace=Workspace(),
        rules=(
            template("free", 5),
            template("pro", 50, action=Action.WARN),
            template("pro", 20, window=WindowType.DAY, action=Action.DRY_RUN),
            rule("alice", 10),
        ),
        prices=parse_price_book([PRICE]),
    )


@contextlib.asynccontextmanager
async def running_edge(directory: Path, *, rule_set: RuleSet | None = None, **settings: object) -> AsyncIterator[Edge]:
    """Serve on free loopback ports; `settings` become SPENDGATE_... variables."""
    async with contextlib.AsyncExitStack() as stack:
        configured = _settings(directory, settings)
        ledger, metrics = FailingLedger(), Metrics(version="test")
        rules = RuleCache(current=rule_set or edge_rules())
        rules.on_change(metrics.set_rules)
        metrics.set_rules(rules.current)
        journal = await stack.enter_async_context(
            open_journal(directory, max_bytes=1 << 20, now_ms=lambda: NOON_MS, landing_ms=250, kept_within_s=DEADLINE_S)
        )
        enforcer, recorder = _use_cases(ledger, rules, metrics, journal)
        listeners = Listeners(
            make_decision_app(enforcer=enforcer, recorder=recorder, rules=rules, settings=configured, metrics=metrics),
            make_admin_app(rules=rules, metrics=metrics, queue_depth=lambda: 0),
        )
        await listeners.open(configured)
        try:
            async with aiohttp.ClientSession() as session:
                yield Edge(
                    session=session,
                    url=listeners.decision_url,
                    admin_url=listeners.admin_url,
                    ledger=ledger,
                    rules=rules,
                    enforcer=enforcer,
                    listeners=listeners,
                )
        finally:
            await listeners.close()


def _settings(directory: Path, changes: dict[str, object]) -> Settings:
    environment = {
        "SPENDGATE_REDIS_URL": "unix:///nowhere",
        "SPENDGATE_DATA_DIR": str(directory),
        "SPENDGATE_PORT": "auto",
        "SPENDGATE_ADMIN_PORT": "auto",
    }
    return Settings.read(environment | {f"SPENDGATE_{name.upper()}": str(value) for name, value in changes.items()}, {})


def _use_cases(
    ledger: FailingLedger, rules: RuleCache, metrics: Metrics, journal: Journal
) -> tuple[Enforcer, EventRecorder]:
    breaker = Breaker(BreakerLimits())
    lanes = Lanes(
        partition_of=lambda _: 0,
        admit=[Lane(ledger.admit, LIMITS, metrics.record_batch, breaker)],
        resolve=[Lane(ledger.resolve, LIMITS, metrics.record_batch, breaker)],
        breakers=[breaker],
    )
    clock = StoreClock(wall_ms=lambda: NOON_MS, monotonic_ms=lambda: 0.0)
    pricing = Pricing(rules, LearnedOutputs(), metrics)
    enforcer = Enforcer(
        ledger=ledger,
        lanes=lanes,
        rules=rules,
        clock=clock,
        policy=FailurePolicy(clock, memory_allowance(clock.now_ms)),
        pricing=pricing,
        journal=journal,
        metrics=metrics,
        deadline_s=DEADLINE_S,
    )
    return enforcer, EventRecorder(
        lanes=lanes, rules=rules, clock=clock, pricing=pricing, journal=journal, metrics=metrics
    )
