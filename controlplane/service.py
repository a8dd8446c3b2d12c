"""Runs a control plane: wires the parts together, serves until a signal comes, and ends without cutting an answer."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Final

import uvloop

from controlplane.api.access import Access
from controlplane.app import SECONDS_PER_HOUR, Parts, make_admin_app, make_page_app
from controlplane.auth import FailedLogIns, Scope, Sessions, Tokens
from controlplane.listeners import Listeners
from controlplane.metrics import Metrics
from controlplane.origins import Origins
from controlplane.settings import Settings
from ledger.background import Background
from ledger.connection import StoreTimeouts, connect
from ledger.errors import LedgerError
from ledger.event_log import EventLog
from ledger.loop_lag import watch_loop_lag
from ledger.spend_reader import SpendReader

TIMEOUTS: Final = StoreTimeouts(connect_ms=1000, command_ms=5000)
"""More patient than a decision: people wait for pages, and a page of 100,000 rules is a large answer."""

MAX_CONNECTIONS: Final = 64

log = logging.getLogger("spendgate.controlplane")


def run(settings: Settings, *, on_serving: Callable[[Listeners], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight finish first. Raises what makes a start impossible."""
    log.info("settings: %s", settings.describe())
    uvloop.run(serve(settings, on_serving=on_serving))


async def serve(settings: Settings, *, on_serving: Callable[[Listeners], None]) -> None:
    """Do as `run`, on a running event loop. Raises `LedgerError` when a background task failed."""
    stop, failed = asyncio.Event(), asyncio.Event()

    def fail() -> None:
        failed.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running_control_plane(settings, on_failure=fail) as listeners:
        log.info("serving the page on %s, metrics on %s", listeners.page_url, listeners.admin_url)
        on_serving(listeners)
        await stop.wait()
        log.info("stopping: requests in flight finish")
    if failed.is_set():
        raise LedgerError("a background task failed; the log says why")


@contextlib.asynccontextmanager
async def running_control_plane(settings: Settings, *, on_failure: Callable[[], None]) -> AsyncIterator[Listeners]:
    """Run a whole control plane on the running loop; on leaving, everything it started has ended.

    `on_failure` is called when a background task fails: the process must not go on half alive.
    """
    client = connect(settings.redis_url, TIMEOUTS, max_connections=MAX_CONNECTIONS)
    metrics = Metrics(version=version("spendgate-server"))
    background = Background(on_failure)
    background.start(watch_loop_lag(metrics.set_loop_lag))
    parts = Parts(
        settings=settings,
        metrics=metrics,
        access=make_access(settings, metrics),
        event_log=EventLog(client, settings.workspace, settings.partitions),
        spend=SpendReader(client, settings.workspace, settings.partitions),
    )
    listeners = Listeners(make_page_app(parts), make_admin_app(metrics=metrics, is_ready=lambda: True))
    try:
        await listeners.open(settings)
        yield listeners
    finally:
        await listeners.close()
        await background.stop()
        await client.aclose()


def make_access(settings: Settings, metrics: Metrics) -> Access:
    """Return what decides who may do what."""
    tokens = {
        Scope.READ: settings.read_token,
        Scope.WRITE: settings.write_token,
        Scope.PUSH: settings.push_token,
    }
    sessions = Sessions(lifetime_s=settings.session_hours * SECONDS_PER_HOUR, clock=time.monotonic)
    metrics.show_sessions(sessions.__len__)
    return Access(
        tokens=Tokens(tokens),
        sessions=sessions,
        failures=FailedLogIns(clock=time.monotonic),
        origins=Origins.of(host=settings.control_host, public_url=settings.public_url),
    )
