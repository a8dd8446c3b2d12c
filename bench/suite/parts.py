"""The rest of the suite's parts: what the scripts cost, start and memory and scrapes, and the growth curves."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis

from bench import memory
from bench.http_check import pin
from bench.suite import script_cost
from bench.suite.footprint import bulk, resident_mib, scrape, start_and_memory
from bench.suite.rounds import Case, generate, run_rounds, spread, summarize
from bench.suite.rule_sets import LARGE_OVERRIDES, SMALL_OVERRIDES, TEMPLATES, rules, zoned
from bench.suite.scenarios import STREAM_64, Document, Options, Tell, benches, case, latency, scenarios, table
from bench.suite.subjects import Subject, running_sidecar
from cli.embedded import EmbeddedStore

SCRAPED_USERS: Final = 100_000
GROWING_RULES: Final = (10, 1_000, 10_000, 100_000, 1_000_000)
GROWING_USERS: Final = (1_000, 10_000, 100_000, 1_000_000)
THRESHOLDS: Final = (0, 1, 5, 20)
ZONES: Final = (0, 1, 2, 3)
Part = Callable[[Options, Tell], Document]


def cost(options: Options, tell: Tell) -> Document:
    """Measure what each program costs the store, by the size of a batch.

    We are on the other core meanwhile: the store's microseconds are of a clock that goes on while others use its core.
    """
    with benches() as (_, store):
        cases = script_cost.cases(store.url)
        pin(0)
        try:
            for each in cases.values():
                each()
            series = run_rounds(cases, options.rounds, tell)
        finally:
            pin(-1)
    return {"cases": {name: summarize(results) for name, results in series.items()}}


def footprint(options: Options, tell: Tell) -> Document:
    """Measure start-up and memory with few and many overrides, scrapes, and what is kept in the store."""
    with benches() as (directory, store):
        starts: dict[str, Document] = {}
        for overrides in (SMALL_OVERRIDES, LARGE_OVERRIDES):
            results = [
                start_and_memory(directory / f"start-{overrides}-{number}", store.url, overrides)
                for number in range(options.rounds)
            ]
            starts[f"{overrides:,} overrides"] = summarize(results)
            tell(f"started over {overrides:,} overrides")
        with running_sidecar(directory / "scraped", store.url, rules()) as sidecar:
            before = scrape(sidecar, 1)
            after = scrape(sidecar, SCRAPED_USERS)
    with benches() as (_, store):
        stored = asyncio.run(memory.measure(store.url))
    return {"starts": starts, "scrapes": [before, after], "stored_bytes": stored}


def growth(options: Options, tell: Tell) -> Document:
    """Measure what becomes of speed and memory when rules, users, windows and thresholds grow."""
    with benches() as (directory, store):
        by_rules = {}
        for count in GROWING_RULES:
            with running_sidecar(directory / f"rules-{count}", store.url, rules(count - TEMPLATES)) as sidecar:
                by_rules[str(count)] = _grown(sidecar, store, options)
            tell(f"{count:,} rules")
        zones = {f"{3 + 3 * number} counters": zoned(number) for number in ZONES}
        thresholds = {str(number): rules(alert_thresholds_pct=_thresholds(number)) for number in THRESHOLDS}
        for name in ("zones", "thresholds"):
            (directory / name).mkdir()
        by_zones = _beside_each_other(directory / "zones", store, options, zones, tell)
        by_thresholds = _beside_each_other(directory / "thresholds", store, options, thresholds, tell)
    return {
        "rules": by_rules,
        "users": {str(count): _with_users(count, options, tell) for count in GROWING_USERS},
        "counters": by_zones,
        "thresholds": by_thresholds,
    }


def _grown(sidecar: Subject, store: EmbeddedStore, options: Options) -> Document:
    run = case(sidecar, store, options.seconds, {})
    summary = summarize([run() for _ in range(options.rounds)])
    return {**summary, "ready_s": spread([sidecar.ready_s]), "resident_mib": spread([resident_mib(sidecar.pid)])}


def _with_users(count: int, options: Options, tell: Tell) -> Document:
    """Return how fast checks are once so many users have counters, and what these take in the store."""
    with benches() as (directory, store), running_sidecar(directory / "users", store.url, rules()) as sidecar:
        generate(bulk(sidecar, count))
        with redis.Redis.from_url(store.url) as client:
            stored_mib = client.info("memory")["used_memory"] / (1 << 20)
        fields: dict[str, Any] = {"user_count": count}
        http = [case(sidecar, store, options.seconds, fields)() for _ in range(options.rounds)]
        stream = [case(sidecar, store, options.seconds, {**STREAM_64, **fields})() for _ in range(options.rounds)]
        tell(f"{count:,} users")
        memory_mib = {"resident_mib": spread([resident_mib(sidecar.pid)]), "stored_mib": spread([stored_mib])}
        return {**summarize(http), **memory_mib, "stream_per_second": summarize(stream)["per_second"]}


def _beside_each_other(
    directory: Path, store: EmbeddedStore, options: Options, rule_sets: dict[str, list[dict[str, Any]]], tell: Tell
) -> Document:
    """Return how fast sidecars with different rules are, in interleaved rounds; they share the store."""
    with contextlib.ExitStack() as stack:
        cases: dict[str, Case] = {}
        for number, (name, listed) in enumerate(rule_sets.items()):
            sidecar = stack.enter_context(running_sidecar(directory / f"set-{number}", store.url, listed))
            cases[name] = case(sidecar, store, options.seconds, {})
        series = run_rounds(cases, options.rounds, tell)
    return {name: summarize(results) for name, results in series.items()}


def _thresholds(count: int) -> list[int]:
    return [100 * (number + 1) // (count + 1) for number in range(count)]


PARTS: Final[dict[str, Part]] = {
    "table": table,
    "scenarios": scenarios,
    "latency": latency,
    "cost": cost,
    "footprint": footprint,
    "growth": growth,
}
