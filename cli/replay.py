"""A replay: sends the calls of a trace through sidecars and reports what was allowed and what it cost."""

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console

from cli.call_amounts import CallAmounts, ModelAmounts, PricedAmounts, TokenPrices
from cli.failure import CommandFailed
from cli.population import Population
from cli.replay_calls import CallReplayer
from cli.replay_progress import ReplayProgress
from cli.replay_report import ReplayReport
from cli.sidecar_client import request_headers
from cli.trace import TraceCall, TraceError, count_calls, read_trace

REQUEST_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """All that decides how a replay runs. `speed` is a multiple of the trace's own pace, None as fast as it goes.

    With `models` the sidecar prices the tokens of these, in turn; else calls cost what `prices` say.
    """

    trace: Path
    urls: Sequence[str]
    population: Population
    max_output_tokens: int
    run_id: str
    prices: TokenPrices | None = None
    models: Sequence[str] = ()
    speed: float | None = None
    concurrency: int = 64
    limit: int | None = None

    @property
    def total(self) -> int:
        """How many calls will be made."""
        calls = count_calls(self.trace)
        return calls if self.limit is None else min(calls, self.limit)

    @property
    def amounts(self) -> CallAmounts:
        """What a call says of its cost."""
        if self.prices is None:
            return ModelAmounts(self.models, self.max_output_tokens)
        return PricedAmounts(self.prices, self.max_output_tokens)

    def calls(self) -> Iterator[tuple[int, TraceCall]]:
        """Yield the calls to be made, numbered from 1."""
        return enumerate(itertools.islice(read_trace(self.trace), self.limit), start=1)


async def replay(plan: ReplayPlan, *, after_call: Callable[[], None]) -> ReplayReport:
    """Make all calls of the plan, `plan.concurrency` at a time, and return what came of them. Raises `TraceError`."""
    report = ReplayReport()
    calls = plan.calls()
    began = time.monotonic()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=plan.concurrency),
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        headers=request_headers(),
    ) as session:
        replayer = CallReplayer(
            session=session,
            urls=plan.urls,
            amounts=plan.amounts,
            report=report,
        )

        async def work() -> None:
            # All workers draw from one iterator, so the trace is streamed and calls start in its order.
            for number, call in calls:
                caller = plan.population.draw()
                if plan.speed is not None:
                    await asyncio.sleep(began + call.arrival_s / plan.speed - time.monotonic())
                await replayer.make(f"{plan.run_id}-{number}", caller, call)
                after_call()

        await _run_all(work, plan.concurrency)
    report.elapsed_s = time.monotonic() - began
    return report


async def _run_all(work: Callable[[], Coroutine[None, None, None]], workers: int) -> None:
    """Run `workers` of one kind side by side; the first failure ends all and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def run_replay(plan: ReplayPlan, console: Console) -> ReplayReport:
    """Replay with progress on `console`. Raises `CommandFailed` when the trace cannot be read."""
    try:
        with ReplayProgress(console, total=plan.total) as progress:
            return asyncio.run(replay(plan, after_call=progress.advance))
    except TraceError as error:
        raise CommandFailed(str(error)) from error


def print_report(report: ReplayReport, console: Console) -> None:
    """Print the table and the lines below it."""
    console.print(report.table())
    for line in report.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
