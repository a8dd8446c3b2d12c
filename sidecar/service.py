"""Runs a sidecar: wires the parts together, serves until a signal comes, and ends without dropping a decision."""

import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.background import Background, serve_until_stopped
from ledger.bulk_work import leave_start_alone
from ledger.connection import StoreClient, StoreTimeouts, connect, script_connection
from ledger.heartbeats import Heartbeats
from ledger.loop_lag import watch_loop_lag
from ledger.redis_ledger import RedisLedger
from ledger.rule_store import RuleStore
from ledger.scripts import CommandRunner
from sidecar.app import make_admin_app, make_decision_app
from sidecar.enforcer import Enforcer, Lanes
from sidecar.event_recorder import EventRecorder
from sidecar.heartbeat import Heartbeat
from sidecar.journal import Journal
from sidecar.journal_service import Fallback, replay_journal, without_store
from sidecar.lanes import ANSWER_MARGIN_S, depth, drain, make_lanes, meet_store
from sidecar.learned_copy import LearnedCopy
from sidecar.learned_outputs import LearnedOutputs
from sidecar.listeners import Listeners, Place
from sidecar.metrics import Metrics
from sidecar.observing import around, observing, traced_lanes
from sidecar.pricing import Pricing
from sidecar.rule_cache import RuleCache
from sidecar.rule_file import RuleFile
from sidecar.rule_follower import RuleFollower
from sidecar.settings import Settings
from sidecar.store_clock import StoreClock
from sidecar.sweeper import Sweeper
from sidecar.warm_up import WITHIN_S, warm_up

if TYPE_CHECKING:
    from sidecar.tracing import Tracing

RULES_TIMEOUTS: Final = StoreTimeouts(connect_ms=1000, command_ms=10_000)
RULES_CONNECTIONS: Final = 4
"""Of their own: one waits for changes nearly all the time, and no decision waits for them."""

REPLICA_WAIT_SHARE: Final = 0.8
"""Of the command's timeout: the store answers that no replica has it before the connection is given up."""

COLLECTOR_THRESHOLDS: Final = (50_000, 20, 50)

log = logging.getLogger("spendgate")


async def serve(settings: Settings, *, on_serving: Callable[[Listeners], None], place: Place | None = None) -> None:
    """Serve until SIGTERM or SIGINT; in-flight decisions finish first. `place` is that of one of several workers.

    Raises what makes a start impossible, and `LedgerError` when a background task failed.
    """

    def tell(listeners: Listeners) -> None:
        _calm_collector()
        on_serving(listeners)

    await serve_until_stopped(
        lambda fail: running_sidecar(settings, on_failure=fail, place=place),
        on_serving=tell,
        on_stopping=lambda: log.info("stopping: in-flight decisions finish"),
    )


def _calm_collector() -> None:
    """Leave what was made at start alone, and collect rarely: a decision makes garbage, but no cycles."""
    leave_start_alone()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


@contextlib.asynccontextmanager
async def running_sidecar(
    settings: Settings, *, on_failure: Callable[[], None], place: Place | None = None
) -> AsyncIterator[Listeners]:
    """Run a whole sidecar on the running loop; on leaving, everything it started has ended.

    `on_failure` is called when a background task fails: the process must not go on half alive.
    """
    gc.freeze()  # Unsearched: the classes that modules dropped while loading are not worth 25 ms of a start.
    timeouts = StoreTimeouts(connect_ms=settings.connect_timeout_ms, command_ms=settings.command_timeout_ms)
    client = connect(settings.redis_url, timeouts)
    connections = {name: script_connection(client) for name in ("admit", "resolve")}
    metrics = Metrics(version=version("spendgate-server"))
    rules = await RuleCache.load(Path(settings.data_dir))
    rules.on_change(metrics.set_rules)
    if rules.is_loaded:
        metrics.set_rules(rules.current)
    background = Background(on_failure)
    rules_client = connect(settings.redis_url, RULES_TIMEOUTS, max_connections=RULES_CONNECTIONS)
    heartbeat = Heartbeat(
        Heartbeats(rules_client, workspace=settings.workspace),
        rules,
        metrics,
        version=version("spendgate-server"),
        rules_source=settings.rules_source,
    )
    try:
        await _start_rules(settings, rules, metrics, RuleStore(rules_client, workspace=settings.workspace), background)
        background.start(heartbeat.run())
        ledger = _ledger(settings, client, connections)
        clock = StoreClock()
        async with (
            without_store(settings, clock, metrics, rules, workers=place.workers if place else 1) as fallback,
            _pricing(settings, rules, metrics, background) as pricing,
            observing(settings, metrics, version=version("spendgate-server")) as tracing,
            _serving(settings, ledger, pricing, metrics, background, place, clock, fallback, tracing) as listeners,
        ):
            background.start(rules.run())  # Last: a copy of very many rules takes time that a start has not.
            yield listeners
    finally:
        await background.stop()
        await heartbeat.stop()
        await rules.keep_last()
        await rules_client.aclose()
        for connection in connections.values():
            await connection.aclose()
        await client.aclose()


def _ledger(settings: Settings, client: StoreClient, connections: Mapping[str, CommandRunner]) -> RedisLedger:
    return RedisLedger(
        client,
        workspace=settings.workspace,
        partitions=settings.partitions,
        max_events=settings.stream_max_events,
        connections=connections,
        replica_wait_ms=int(settings.command_timeout_ms * REPLICA_WAIT_SHARE),
    )


@contextlib.asynccontextmanager
async def _pricing(
    settings: Settings, rules: RuleCache, metrics: Metrics, background: Background
) -> AsyncIterator[Pricing]:
    """Price by what was learned so far, and go on learning; on leaving, keep it."""
    learned = LearnedOutputs()
    copy = LearnedCopy(Path(settings.data_dir), learned)
    await copy.load()
    background.start(copy.run())
    try:
        yield Pricing(rules, learned, metrics)
    finally:
        await copy.keep()


@contextlib.asynccontextmanager
async def _serving(
    settings: Settings,
    ledger: RedisLedger,
    pricing: Pricing,
    metrics: Metrics,
    background: Background,
    place: Place | None,
    clock: StoreClock,
    fallback: Fallback,
    tracing: "Tracing | None",
) -> AsyncIterator[Listeners]:
    """Open the listeners over an enforcer; on leaving, close them and let the lanes run empty."""
    journal = fallback.journal
    lanes = make_lanes(ledger, settings, metrics, clock, journal)
    await _begin(settings, ledger, lanes, clock, journal, metrics, background)
    lanes = traced_lanes(lanes, tracing)
    rules = pricing.rules
    enforcer = Enforcer(
        ledger=ledger,
        lanes=lanes,
        rules=rules,
        clock=clock,
        policy=fallback.policy,
        pricing=pricing,
        journal=journal,
        metrics=metrics,
        deadline_s=settings.deadline_ms / 1000 - ANSWER_MARGIN_S,
    )
    recorder = EventRecorder(lanes=lanes, rules=rules, clock=clock, pricing=pricing, journal=journal, metrics=metrics)
    background.start(_sweeper(ledger, clock, lanes, settings, metrics).run())
    background.start(watch_loop_lag(metrics.set_loop_lag))
    listeners = Listeners(
        make_decision_app(
            enforcer=enforcer,
            recorder=recorder,
            rules=rules,
            settings=settings,
            metrics=metrics,
            around=around(tracing),
        ),
        make_admin_app(rules=rules, metrics=metrics, queue_depth=lambda: depth(lanes)),
    )
    await listeners.open(settings, place)
    try:
        yield listeners
    finally:
        await listeners.close()
        await drain(lanes)
        await enforcer.drain()  # It may ask the lanes once more, and its answers may have to be journaled.
        await drain(lanes)


async def _begin(
    settings: Settings,
    ledger: RedisLedger,
    lanes: Lanes,
    clock: StoreClock,
    journal: Journal,
    metrics: Metrics,
    background: Background,
) -> None:
    """Meet the store before the first caller does; a store that may be slow for a command may be so here."""
    within_s = max(WITHIN_S, settings.command_timeout_ms / 1000)
    await meet_store(settings, ledger, lanes, metrics, background)
    await warm_up(ledger, clock, lanes, within_s=within_s)
    await replay_journal(journal, ledger, lanes, clock, metrics, background, within_s=within_s)


def _sweeper(ledger: RedisLedger, clock: StoreClock, lanes: Lanes, settings: Settings, metrics: Metrics) -> Sweeper:
    return Sweeper(
        ledger,
        clock,
        breakers=lanes.breakers,
        interval_s=settings.sweep_interval_ms / 1000,
        on_error=metrics.record_store_error,
    )


async def _start_rules(
    settings: Settings, rules: RuleCache, metrics: Metrics, store: RuleStore, background: Background
) -> None:
    """Take the rules from where they come, and follow them in the background."""
    metrics.set_rules_source(settings.rules_source)
    metrics.show_rules_awaited(lambda: rules.is_awaited)
    metrics.show_rules_unkept(lambda: rules.is_keeping_failed)
    if settings.rules is not None:
        prices = None if settings.prices is None else Path(settings.prices)
        rule_file = RuleFile(Path(settings.rules), rules, prices=prices, on_reject=metrics.record_rules_rejected)
        await rule_file.load()
        background.start(rule_file.watch())
    if settings.rules_source == "store":
        follower = RuleFollower(store, rules, metrics)
        await follower.load()
        background.start(follower.run())
    if settings.rules_source == "push":
        rules.await_first()
        if rules.is_awaited:
            log.warning("no rules were pushed here yet: nothing is admitted until they are (PUT /v1/rules)")
