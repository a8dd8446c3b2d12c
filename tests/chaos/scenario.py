"""Scenarios: what one is, what it has to work with, and what is reported of it."""

import asyncio
import contextlib
import importlib
import pkgutil
import random
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from ledger.money import usd_text
from tests.chaos import scenarios
from tests.chaos.lines import HttpLine, Line
from tests.chaos.load import Habits, Load
from tests.chaos.truth import Comparison, Truth
from tests.support.apps import open_session
from tests.support.books import new_workspace, read_books
from tests.support.patience import HASTY
from tests.support.processes import SidecarProcess, running_sidecars, template, write_rules

HERE: Final = Path(__file__).parent
FAR_LIMIT_USD: Final = 1_000_000
SETTINGS: Final = HASTY

Entered = TypeVar("Entered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One event that breaks things. `title` says which; `bound` what it may lose at most, in words for operators.

    `run` breaks things on a `Stage` and compares there. The fast ones also belong to ``make test``.
    """

    name: str
    title: str
    bound: str
    run: "Callable[[Stage], Awaitable[None]]"
    fast: bool = False
    soak: bool = False


@dataclass(slots=True)
class Report:
    """What was sent, lost and healed. `notes` are figures of this scenario's own; `faults` is empty if all held."""

    sent: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    lost_nanos: int = 0
    difference_nanos: int = 0
    audit_differences: int = 0
    misdirected: int = 0
    longest_gap_s: float = 0.0
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, truth: Truth, comparison: Comparison) -> None:
        """Add what callers know and how the ledger compares."""
        self.sent += len(truth.deals)
        for name, count in truth.answers.items():
            self.answers[name] = self.answers.get(name, 0) + count
        self.lost += comparison.lost
        self.lost_nanos += comparison.lost_nanos
        self.difference_nanos += comparison.difference_nanos
        self.audit_differences += len(comparison.audit_differences)
        self.misdirected += truth.misdirected
        self.longest_gap_s = max([self.longest_gap_s, *truth.gaps_s])

    def line(self, scenario: Scenario, seed: int) -> dict[str, Any]:
        """Return the report as one JSON object."""
        return {
            "scenario": scenario.name,
            "seed": seed,
            "held": not self.faults,
            "sent": self.sent,
            **{name: self.answers.get(name, 0) for name in ("exact", "degraded_allowed", "degraded_denied", "failed")},
            "lost": self.lost,
            "lost_usd": usd_text(self.lost_nanos),
            "difference_usd": usd_text(self.difference_nanos),
            "audit_differences": self.audit_differences,
            "misdirected": self.misdirected,
            "longest_gap_s": round(self.longest_gap_s, 3),
            "seconds": round(self.seconds, 1),
            "notes": self.notes,
            "faults": self.faults,
        }


class Stage:
    """What a scenario works with: a directory, random numbers of a known seed, sidecars, callers, and the report."""

    def __init__(self, stack: AsyncExitStack, directory: Path, seed: int) -> None:
        self.directory = directory
        self.workspace = new_workspace()
        self.rng = random.Random(seed)
        self.report = Report()
        self._stack = stack
        self._numbers = iter(range(1000))

    async def enter(self, manager: AbstractContextManager[Entered]) -> Entered:
        """Start what blocks while it starts and stops, off the loop; it ends with the scenario."""
        entered = await asyncio.to_thread(manager.__enter__)
        self._stack.push_async_callback(lambda: asyncio.to_thread(manager.__exit__, None, None, None))
        return entered

    async def enter_async(self, manager: AbstractAsyncContextManager[Entered]) -> Entered:
        """Enter what does not block; it ends with the scenario."""
        return await self._stack.enter_async_context(manager)

    def on_end(self, end: Callable[[], object]) -> None:
        """Have something done when the scenario ends."""
        self._stack.callback(end)

    async def sidecars(
        self,
        store_url: str,
        *,
        count: int = 2,
        rules: Sequence[dict[str, object]] | None = (template("free", FAR_LIMIT_USD),),
        **settings: object,
    ) -> list[SidecarProcess]:
        """Start sidecars over a store: with rules of a file, by default a far limit, or (None) those of the store."""
        own = self.directory / f"sidecars-{next(self._numbers)}"
        own.mkdir()
        path = None if rules is None else write_rules(own / "rules.yaml", *rules)
        configured = {"workspace": self.workspace, **SETTINGS, **settings}
        return await self.enter(running_sidecars(count, own, store_url, path, **configured))

    async def load(
        self, urls: Sequence[str], *, line: Line | None = None, truth: Truth | None = None, **habits: Any
    ) -> Load:
        """Return callers of these sidecars, over HTTP if `line` does not say otherwise, with `Habits`."""
        if line is None:
            line = HttpLine(await self._stack.enter_async_context(open_session()))
        return Load(line, urls, self.rng, Habits(**habits), truth=truth)

    async def compare(self, load: Load, store_url: str) -> Comparison:
        """Compare the ledger with what callers know, note it in the report, and what must not be as faults."""
        comparison = load.truth.compare(await read_books(store_url, self.workspace))
        self.report.add(load.truth, comparison)
        return comparison

    async def compare_exactly(self, load: Load, store_url: str) -> None:
        """Compare after everything was asked until it was answered: nothing lost, nothing twice, nothing amiss."""
        await load.finish()
        comparison = await self.compare(load, store_url)
        self.expect(not comparison.lost, f"{comparison.lost} acknowledged calls were lost")
        self.expect(not comparison.wrong_users, f"spend differs from the truth: {comparison.wrong_users}")
        self.expect(not comparison.audit_differences, f"the audit found {comparison.audit_differences[:3]}")
        self.expect(not load.truth.misdirected, f"{load.truth.misdirected} replies reached the wrong caller")

    def expect(self, holds: object, fault: str) -> None:
        """Note a fault unless something holds."""
        if not holds:
            self.report.faults.append(fault)


async def off_the_loop(work: Callable[[], object]) -> None:
    """Do what blocks while the callers go on."""
    await asyncio.to_thread(work)


@contextlib.asynccontextmanager
async def open_stage(seed: int) -> AsyncIterator[Stage]:
    """Provide a stage; everything that was started on it has ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="sg-", ignore_cleanup_errors=True) as name:
        async with AsyncExitStack() as stack:
            yield Stage(stack, Path(name), seed)


async def perform(scenario: Scenario, seed: int) -> Report:
    """Run a scenario and return its report; what it raises is a fault too."""
    started = time.monotonic()
    async with open_stage(seed) as stage:
        try:
            await scenario.run(stage)
        except Exception as error:
            stage.report.faults += _told(error)
    stage.report.seconds = time.monotonic() - started
    return stage.report


def _told(error: BaseException) -> list[str]:
    """Return what went wrong, and what the scenario was waiting for or doing: of a group, each."""
    if isinstance(error, BaseExceptionGroup):
        return [fault for each in error.exceptions for fault in _told(each)]
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if str(HERE) in frame.filename]
    return [f"{type(error).__name__}: {error} ({' > '.join(places[1:])})"]


def find_scenarios() -> list[Scenario]:
    """Return all scenarios, by name."""
    names = [module.name for module in pkgutil.iter_modules(scenarios.__path__)]
    modules = [importlib.import_module(f"{scenarios.__name__}.{name}") for name in sorted(names)]
    return [found for module in modules for found in _in(module)]


def _in(module: Any) -> Sequence[Scenario]:
    return module.SCENARIOS if hasattr(module, "SCENARIOS") else [module.SCENARIO]
