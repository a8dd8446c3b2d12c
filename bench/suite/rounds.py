"""Interleaved rounds: every case once a round, so that what slows the machine slows all; medians, and their spread."""

import contextlib
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from bench.http_check import ROOT, cpu_seconds
from bench.suite.latency import Latencies
from bench.suite.loads import Load

Result = Mapping[str, Any]
Case = Callable[[], Result]
Stage = Callable[[], AbstractContextManager[Mapping[str, Case]]]
"""Makes what the cases of a round need, and ends it."""
Series = Mapping[str, Sequence[Result]]
"""Of each case what it gave in each round."""

HISTOGRAM = "histogram"


def generate(load: Load, pids: Mapping[str, int] | None = None) -> Result:
    """Run a load in a process of its own; with it the CPU microseconds an operation of the named processes."""
    before = {name: cpu_seconds(pid) for name, pid in (pids or {}).items()}
    command = [sys.executable, "-m", "bench.suite.generator", json.dumps(load.document())]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(f"the load {load} failed: {finished.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(finished.stdout)
    for name, pid in (pids or {}).items():
        result[f"{name}_cpu_us"] = (cpu_seconds(pid) - before[name]) * 1e6 / result["operations"]
    return result


def run_rounds(cases: Mapping[str, Case], rounds: int, tell: Callable[[str], None]) -> Series:
    """Run every case in every round, forwards and backwards by turns."""
    return run_staged_rounds(lambda: contextlib.nullcontext(cases), rounds, tell)


def run_staged_rounds(stage: Stage, rounds: int, tell: Callable[[str], None]) -> Series:
    """Do so with a stage of its own for each round: what one leaves behind, such as a grown store, burdens no other."""
    series: dict[str, list[Result]] = defaultdict(list)
    for number in range(rounds):
        with stage() as cases:
            for name in list(cases) if number % 2 == 0 else list(cases)[::-1]:
                series[name].append(cases[name]())
            names = tuple(cases)
        tell(f"round {number + 1} of {rounds}")
    return {name: series[name] for name in names}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median of some rounds and how far they lie apart."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarize(results: Sequence[Result]) -> dict[str, Any]:
    """Return the spread of each figure of a case, and the latencies of all rounds in one histogram."""
    summary: dict[str, Any] = {
        name: spread([result[name] for result in results]) for name in results[0] if name != HISTOGRAM
    }
    if HISTOGRAM in results[0]:
        parts = [Latencies.decode(result[HISTOGRAM]) for result in results]
        summary["all_rounds"] = dict(Latencies.merged(parts).summary())
    return summary


def ratio(series: Series, above: str, below: str, figure: str = "per_second") -> dict[str, float]:
    """Return one case's figure over another's, round by round."""
    pairs = zip(series[above], series[below], strict=True)
    return spread([over[figure] / under[figure] for over, under in pairs])
