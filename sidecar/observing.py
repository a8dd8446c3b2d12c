"""Who else hears of decisions, as the settings say: the log, and traces, which are loaded only where wanted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from ledger.errors import LedgerError
from sidecar.decision_log import DecisionLog, user_naming
from sidecar.enforcer import Lanes
from sidecar.metrics import Metrics
from sidecar.settings import Settings

if TYPE_CHECKING:
    from sidecar.tracing import Tracing


@asynccontextmanager
async def observing(settings: Settings, metrics: Metrics, *, version: str) -> "AsyncIterator[Tracing | None]":
    """Let the log and traces hear of decisions meanwhile; on leaving, what traces have left is sent."""
    observers: list[Any] = []
    if settings.log_decisions != "none":
        observers.append(DecisionLog(settings.log_decisions, user_naming(settings.log_user_ids, settings.log_key)))
    tracing = None if settings.traces == "off" else _tracing(version)
    if tracing is not None:
        observers.append(tracing)
    metrics.observers = tuple(observers)
    try:
        yield tracing
    finally:
        if tracing is not None:
            await asyncio.to_thread(tracing.stop)


def _tracing(version: str) -> "Tracing":
    """Load OpenTelemetry. Raises `LedgerError`, which ends the start, where it is not installed."""
    try:
        module = import_module("sidecar.tracing")
    except ModuleNotFoundError as error:
        raise LedgerError(f"SPENDGATE_TRACES needs the extra `traces` ({error})") from error
    return cast("Tracing", module.Tracing.over_otlp(version=version))


def traced_lanes(lanes: Lanes, tracing: "Tracing | None") -> Lanes:
    """Return lanes whose operations have spans, or the same ones."""
    if tracing is None:
        return lanes
    return replace(
        lanes,
        admit=cast("Any", [tracing.lane(lane, "admit") for lane in lanes.admit]),
        resolve=cast("Any", [tracing.lane(lane, "resolve") for lane in lanes.resolve]),
    )


def around(tracing: "Tracing | None") -> Callable[[str, Any], Any] | None:
    """Return what makes spans around handlers, if somebody wants them."""
    return None if tracing is None else tracing.around
