"""Runs a control plane: wires the parts together, serves until a signal comes, and ends without cutting an answer."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import uvloop

from controlplane.adjustment_journal import AdjustmentJournal
from controlplane.adjustment_keeper import AdjustmentKeeper
from controlplane.api.access import Access
from controlplane.app import SECONDS_PER_HOUR, Parts, make_admin_app, make_page_app
from controlplane.auth import FailedLogIns, Scope, Sessions, Tokens
from controlplane.listeners import Listeners
from controlplane.metrics import Metrics
from controlplane.observation import Observation
from controlplane.origins import Origins
from controlplane.registry import Registry
from controlplane.seeding import plant, read_seed
from controlplane.settings import Settings
from controlplane.sidecars import SidecarBoard
from controlplane.usage import UsageReader
from controlplane.webhook_file import read_webhooks
from controlplane.webhooks import WebhookPlace, Webhooks
from ledger.background import Background, serve_until_stopped
from ledger.breakdown_reader import BreakdownReader
from ledger.bulk_work import leave_start_alone
from ledger.connection import StoreClient, StoreTimeouts, claim_partitions, connect
from ledger.errors import StoreUnavailable
from ledger.event_log import EventLog
from ledger.heartbeats import Heartbeats
from ledger.loop_lag import watch_loop_lag
from ledger.redis_ledger import RedisLedger
from ledger.rule_store import RuleStore
from ledger.spend_reader import SpendReader

TIMEOUTS: Final = StoreTimeouts(connect_ms=1000, command_ms=5000)
"""More patient than a decision: people wait for pages, and a page of 100,000 rules is a large answer."""

RULES_TIMEOUTS: Final = StoreTimeouts(connect_ms=1000, command_ms=15_000)
"""Longer than the registry waits for a change."""

MAX_CONNECTIONS: Final = 64
RETRY_INTERVAL_S: Final = 1.0

log = logging.getLogger("spendgate.controlplane")


def run(settings: Settings, *, on_serving: Callable[[Listeners], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight finish first. Raises what makes a start impossible."""
    log.info("settings: %s", settings.describe())
    uvloop.run(serve(settings, on_serving=on_serving))


async def serve(settings: Settings, *, on_serving: Callable[[Listeners], None]) -> None:
    """Do as `run`, on a running event loop. Raises `LedgerError` when a background task failed."""

    def tell(listeners: Listeners) -> None:
        leave_start_alone()
        log.info("serving the page on %s, metrics on %s", listeners.page_url, listeners.admin_url)
        on_serving(listeners)

    await serve_until_stopped(
        lambda fail: running_control_plane(settings, on_failure=fail),
        on_serving=tell,
        on_stopping=lambda: log.info("stopping: requests in flight finish"),
    )


@contextlib.asynccontextmanager
async def running_control_plane(settings: Settings, *, on_failure: Callable[[], None]) -> AsyncIterator[Listeners]:
    """Run a whole control plane on the running loop; on leaving, everything it started has ended.

    `on_failure` is called when a background task fails: the process must not go on half alive.
    """
    async with kept_adjustments(settings) as journal, _running(settings, journal, on_failure) as listeners:
        yield listeners


@contextlib.asynccontextmanager
async def _running(
    settings: Settings, journal: AdjustmentJournal | None, on_failure: Callable[[], None]
) -> AsyncIterator[Listeners]:
    client = connect(settings.redis_url, TIMEOUTS, max_connections=MAX_CONNECTIONS)
    rules_client = connect(settings.redis_url, RULES_TIMEOUTS)
    metrics = Metrics(version=version("spendgate-server"))
    registry = Registry(RuleStore(rules_client, workspace=settings.workspace))
    registry.on_change(lambda book: metrics.set_rules(book.revision, len(book.entries)))
    background = Background(on_failure)
    board = SidecarBoard(Heartbeats(client, workspace=settings.workspace), lambda: registry.book)
    webhooks = await _webhooks(settings, client, board, metrics)
    keeper = AdjustmentKeeper(_ledger(settings, client), journal)
    parts = _parts(settings, client, registry, metrics, board, webhooks, keeper)
    listeners = Listeners(make_page_app(parts), make_admin_app(metrics=metrics, is_ready=lambda: registry.is_loaded))
    try:
        await _meet_store(settings, client, registry, background)
        background.start(registry.run())
        background.start(keeper.run())
        background.start(watch_loop_lag(metrics.set_loop_lag))
        for work in webhooks.work():
            background.start(work)
        background.start(Observation(metrics, registry, UsageReader(parts.spend, parts.event_log), parts.board).run())
        await listeners.open(settings)
        yield listeners
    finally:
        await listeners.close()
        await background.stop()
        await webhooks.aclose()
        await rules_client.aclose()
        await client.aclose()


@contextlib.asynccontextmanager
async def kept_adjustments(settings: Settings) -> AsyncIterator[AdjustmentJournal | None]:
    """Open the journal of adjustments, if there is a place for it. Raises `OSError` for one that cannot be used."""
    if settings.control_data_dir is None:
        log.info("adjustments are in the store only: SPENDGATE_CONTROL_DATA_DIR keeps them beside it")
        yield None
        return
    directory, now_ms = Path(settings.control_data_dir), time.time_ns() // 1_000_000
    journal = await asyncio.to_thread(AdjustmentJournal, directory, settings.workspace, now_ms=now_ms)
    try:
        yield journal
    finally:
        journal.close()


def _ledger(settings: Settings, client: StoreClient) -> RedisLedger:
    """Return a ledger; each remembers places of its own runs."""
    return RedisLedger(
        client,
        workspace=settings.workspace,
        partitions=settings.partitions,
        max_events=settings.stream_max_events,
    )


async def _webhooks(settings: Settings, client: StoreClient, board: SidecarBoard, metrics: Metrics) -> Webhooks:
    """Raises `InvalidInput` for a webhook file that cannot be read or has faults, with all of them."""
    listed = () if settings.webhooks is None else await asyncio.to_thread(read_webhooks, Path(settings.webhooks))
    place = WebhookPlace(client=client, workspace=settings.workspace, partitions=settings.partitions)
    return Webhooks(listed, place, board, metrics)


def _parts(
    settings: Settings,
    client: StoreClient,
    registry: Registry,
    metrics: Metrics,
    board: SidecarBoard,
    webhooks: Webhooks,
    keeper: AdjustmentKeeper,
) -> Parts:
    workspace, partitions = settings.workspace, settings.partitions
    return Parts(
        settings=settings,
        metrics=metrics,
        access=make_access(settings, metrics),
        registry=registry,
        event_log=EventLog(client, workspace, partitions),
        spend=SpendReader(client, workspace, partitions),
        breakdown=BreakdownReader(client, workspace, partitions),
        ledger=_ledger(settings, client),
        adjustments=keeper,
        board=board,
        tellers=webhooks.tellers,
    )


async def _meet_store(settings: Settings, client: StoreClient, registry: Registry, background: Background) -> None:
    """Claim the partitions and read the rules; without an answer serve all the same, and go on asking.

    Raises `PartitionMismatch`, and `RuleSetInvalid` for a seed that is no rule set.
    """
    seed = await read_seed(settings.seed, settings.seed_prices)
    try:
        await claim_partitions(client, settings.workspace, settings.partitions)
        await registry.load()
        await plant(registry, seed)
    except StoreUnavailable as error:
        log.warning("starting without the store: the page can show nothing until it answers (%s)", error)
        background.start(_keep_meeting(settings, client, registry, seed))


async def _keep_meeting(settings: Settings, client: StoreClient, registry: Registry, seed: object) -> None:
    while True:
        await asyncio.sleep(RETRY_INTERVAL_S)
        with contextlib.suppress(StoreUnavailable):
            await claim_partitions(client, settings.workspace, settings.partitions)
            await plant(registry, seed)
            log.warning("the store answers: the page shows what is")
            return


def make_access(settings: Settings, metrics: Metrics) -> Access:
    """Return what decides who may do what."""
    tokens = {
        Scope.READ: settings.read_token,
        Scope.WRITE: settings.write_token,
        Scope.PUSH: settings.push_token,
        Scope.EVENTS: settings.events_token,
    }
    sessions = Sessions(lifetime_s=settings.session_hours * SECONDS_PER_HOUR, clock=time.monotonic)
    metrics.show_sessions(sessions.__len__)
    return Access(
        tokens=Tokens(tokens),
        sessions=sessions,
        failures=FailedLogIns(clock=time.monotonic),
        origins=Origins.of(host=settings.control_host, public_url=settings.public_url),
    )
