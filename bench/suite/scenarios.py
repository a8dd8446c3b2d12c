"""The parts of the suite that put load on: the table's figures, the scenarios, and latency against load."""

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.suite import ceiling
from bench.suite.lag import LagSampler
from bench.suite.loads import Load, Users, Wire
from bench.suite.rounds import Case, Result, Series, generate, ratio, run_staged_rounds, summarize
from bench.suite.rule_sets import LARGE_OVERRIDES, SMALL_OVERRIDES, SPENT_TIER, rules
from bench.suite.subjects import Subject, running_baseline, running_sidecar, running_store
from cli.embedded import EmbeddedStore

Document = dict[str, Any]
Tell = Callable[[str], None]

STREAM: Final = {"wire": Wire.STREAM, "connections": 1}
STREAM_1: Final = {**STREAM, "slots": 32}
STREAM_8: Final = {**STREAM, "slots": 16, "per_frame": 8}
STREAM_64: Final = {**STREAM, "slots": 8, "per_frame": 64}
STORM: Final = {"tier": SPENT_TIER, "decision": "block"}
MANY: Final = {"users": Users.UNIFORM, "user_count": 10_000}
ZIPF: Final = {"users": Users.ZIPF, "user_count": 10_000}
HOT: Final = {"users": Users.ONE}
FEW: Final = {"user_count": SMALL_OVERRIDES}

SCENARIOS: Final[dict[str, dict[str, Any]]] = {
    "JSON, 1 connection": {"connections": 1},
    "JSON, 32 connections": {},
    "JSON, 256 connections": {"connections": 256},
    "MessagePack, 32 connections": {"wire": Wire.MSGPACK},
    "JSON over a Unix socket, 32 connections": {"over_socket": True},
    "stream, 1 a frame, 32 in flight": STREAM_1,
    "stream, 8 a frame, 128 in flight": STREAM_8,
    "stream, 64 a frame, 512 in flight": STREAM_64,
    "JSON, one hot user": HOT,
    "JSON, 10,000 users": MANY,
    "JSON, 10,000 users, Zipf": ZIPF,
    "JSON, block storm": STORM,
    "JSON, reserve and settle": {"pairs": True},
    "stream 64, one hot user": {**STREAM_64, **HOT},
    "stream 64, 10,000 users": {**STREAM_64, **MANY},
    "stream 64, 10,000 users, Zipf": {**STREAM_64, **ZIPF},
    "stream 64, block storm": {**STREAM_64, **STORM},
    "stream 64, reserve and settle": {**STREAM_64, "pairs": True},
}
"""Without another word 1,000 users in equal parts, on a tier far below its limit."""

WARM_UP_S: Final = 0.2
LOAD_SHARES: Final = (0.25, 0.5, 0.75, 0.9)
CEILING_CHECKS_A_SECOND: Final = 15_000
ROUND_TRIPS_A_SECOND: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long the suite measures: rounds, and seconds of a case in each round."""

    rounds: int = 5
    seconds: float = 1.0

    def document(self) -> Document:
        """Return the fields, for JSON."""
        return {"rounds": self.rounds, "seconds": self.seconds}


@contextlib.contextmanager
def benches() -> Iterator[tuple[Path, EmbeddedStore]]:
    """Provide a directory and a store for one part of the suite."""
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, running_store(Path(name) / "store") as store:
        yield Path(name), store


def case(subject: Subject, store: EmbeddedStore, seconds: float, fields: Mapping[str, Any]) -> Case:
    """Return a case that loads a subject; `over_socket` takes its Unix socket."""
    wanted = dict(fields)
    address = subject.socket if wanted.pop("over_socket", False) else str(subject.port)
    load = Load(address=address, seconds=seconds, **wanted)
    return partial(generate, load, {"server": subject.pid, "store": store.pid})


@contextlib.contextmanager
def _table_stage(seconds: float) -> Iterator[Mapping[str, Case]]:
    with benches() as (directory, store), contextlib.ExitStack() as stack:
        start = stack.enter_context
        spendgate = start(running_sidecar(directory / "plain", store.url, rules()))
        small = start(running_sidecar(directory / "small", store.url, rules(SMALL_OVERRIDES)))
        large = start(running_sidecar(directory / "large", store.url, rules(LARGE_OVERRIDES)))
        noop = start(running_baseline("noop"))
        pool = start(running_baseline("pool", store.url))
        limits = start(running_baseline("limits", store.url))
        for subject in (noop, pool, limits, spendgate, small, large):
            case(subject, store, WARM_UP_S, {})()
        loads: dict[str, tuple[Subject, dict[str, Any]]] = {
            "no-op": (noop, {}),
            "redis-py pool": (pool, {}),
            "limits": (limits, {}),
            "Spendgate": (spendgate, {}),
            "stream, 1 a frame": (spendgate, STREAM_1),
            "stream, 64 a frame": (spendgate, STREAM_64),
            "10 overrides, 10 users": (small, FEW),
            "100,000 overrides, 10 users": (large, FEW),
            "10 overrides, 1,000 users": (small, {}),
            "100,000 overrides, 1,000 users": (large, {}),
            "one connection": (spendgate, {"connections": 1}),
        }
        cases = {name: case(subject, store, seconds, fields) for name, (subject, fields) in loads.items()}
        checks, trips = round(CEILING_CHECKS_A_SECOND * seconds), round(ROUND_TRIPS_A_SECOND * seconds)
        cases["redis-benchmark"] = partial(ceiling.benchmark, store, ceiling.MAX_BATCH, checks)
        cases["bare round trip"] = partial(ceiling.bare_round_trips, store, trips)
        yield cases


def table(options: Options, tell: Tell) -> Document:
    """Measure what the table compares, all of it in each round."""
    series = run_staged_rounds(partial(_table_stage, options.seconds), options.rounds, tell)
    return {"cases": _summaries(series), "ratios": table_ratios(series), "batch": ceiling.MAX_BATCH}


RATIOS: Final = {
    "HTTP to no-op": ("Spendgate", "no-op", "per_second"),
    "HTTP to redis-py pool": ("Spendgate", "redis-py pool", "per_second"),
    "HTTP to limits": ("Spendgate", "limits", "per_second"),
    "stream 1 to HTTP": ("stream, 1 a frame", "Spendgate", "per_second"),
    "stream 64 to redis-benchmark": ("stream, 64 a frame", "redis-benchmark", "per_second"),
    "one connection to bare round trip": ("one connection", "bare round trip", "p50_ms"),
    "100,000 to 10 overrides, 10 users": ("100,000 overrides, 10 users", "10 overrides, 10 users", "per_second"),
    "100,000 to 10 overrides, 1,000 users": (
        *("100,000 overrides, 1,000 users", "10 overrides, 1,000 users", "per_second"),
    ),
}


def table_ratios(series: Series) -> Document:
    """Return the ratios of the table, of the same round each."""
    return {name: ratio(series, *names) for name, names in RATIOS.items()}


@contextlib.contextmanager
def _alone() -> Iterator[tuple[Subject, EmbeddedStore]]:
    """Run one sidecar over a store of its own, warmed up."""
    with benches() as (directory, store), running_sidecar(directory / "plain", store.url, rules()) as sidecar:
        case(sidecar, store, WARM_UP_S, {})()
        yield sidecar, store


@contextlib.contextmanager
def _scenario_stage(seconds: float) -> Iterator[Mapping[str, Case]]:
    with _alone() as (sidecar, store):
        yield {name: case(sidecar, store, seconds, fields) for name, fields in SCENARIOS.items()}


def scenarios(options: Options, tell: Tell) -> Document:
    """Measure every scenario of one sidecar."""
    series = run_staged_rounds(partial(_scenario_stage, options.seconds), options.rounds, tell)
    return {"cases": _summaries(series)}


@contextlib.contextmanager
def _latency_stage(seconds: float, rates: list[float]) -> Iterator[Mapping[str, Case]]:
    """Provide the saturated load, which adds to `rates`, and loads at shares of their median."""
    with _alone() as (sidecar, store):

        def saturate() -> Result:
            result = case(sidecar, store, seconds, {})()
            rates.append(result["per_second"])
            return result

        def at(share: float) -> Result:
            fields = {"rate_per_second": statistics.median(rates) * share}
            with LagSampler(sidecar) as lag:
                result = case(sidecar, store, seconds * 2, fields)()
            return {**result, "loop_lag_ms": lag.worst_ms}

        if not rates:
            saturate()
        yield {"saturated": saturate, **{f"{share:.0%}": partial(at, share) for share in LOAD_SHARES}}


def latency(options: Options, tell: Tell) -> Document:
    """Measure latency against load: requests that are due at their times, at shares of what saturates the sidecar."""
    series = run_staged_rounds(partial(_latency_stage, options.seconds, []), options.rounds, tell)
    return {"cases": _summaries(series)}


def _summaries(series: Series) -> Document:
    return {name: summarize(results) for name, results in series.items()}
