"""Traces of LLM calls: arrival time, prompt tokens and generated tokens, one call a line.

The format is that of the public Azure LLM inference traces: a CSV with the header
``TIMESTAMP,ContextTokens,GeneratedTokens`` and timestamps without a zone.
"""

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

HEADER: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MAX_TOKENS: Final = 100_000_000

GENERATED_START: Final = datetime(2026, 1, 5, 9, 0)  # noqa: DTZ001 - the format has no zones
CALLS_PER_SECOND: Final = 5.0
PROMPT_MEDIAN, PROMPT_SIGMA, PROMPT_MOST = 700.0, 1.0, 16_000
GENERATED_MEDIAN, GENERATED_SIGMA, GENERATED_MOST = 180.0, 0.8, 1_000


class TraceError(Exception):
    """A trace cannot be read; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class TraceCall:
    """One call: `arrival_s` is seconds since the first one."""

    arrival_s: float
    prompt_tokens: int
    generated_tokens: int


def read_trace(path: Path) -> Iterator[TraceCall]:
    """Yield the calls of a trace, line by line. Raises `TraceError` at the first line that is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            yield from _parse(csv.reader(file), path)
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: {error}") from error


def count_calls(path: Path) -> int:
    """Return the number of calls in a trace, without checking them. Raises `TraceError` if it cannot be opened."""
    try:
        with path.open("rb") as file:
            return max(0, sum(1 for line in file if line.strip()) - 1)
    except OSError as error:
        raise TraceError(f"{path}: {error}") from error


def generate_trace(calls: int, seed: int) -> Iterator[TraceCall]:
    """Yield made-up calls: exponential gaps, lognormal prompts and answers. The same seed makes the same calls.

    Only `Random.random` is asked, the one source that Python keeps stable across its versions.
    """
    random = Random(seed)  # noqa: S311 - a simulation, not a secret
    arrival_s = 0.0
    for _ in range(calls):
        yield TraceCall(
            arrival_s=arrival_s,
            prompt_tokens=_lognormal(random, PROMPT_MEDIAN, PROMPT_SIGMA, PROMPT_MOST),
            generated_tokens=_lognormal(random, GENERATED_MEDIAN, GENERATED_SIGMA, GENERATED_MOST),
        )
        arrival_s += -math.log(1.0 - random.random()) / CALLS_PER_SECOND


def trace_lines(calls: Iterable[TraceCall]) -> Iterator[str]:
    """Yield the lines of a trace file, each with its newline, times in milliseconds."""
    yield ",".join(HEADER) + "\n"
    for call in calls:
        moment = GENERATED_START + timedelta(milliseconds=round(call.arrival_s * 1000))
        yield f"{moment.isoformat(' ', 'milliseconds')},{call.prompt_tokens},{call.generated_tokens}\n"


def _parse(rows: Iterator[list[str]], path: Path) -> Iterator[TraceCall]:
    if tuple(next(rows, ())) != HEADER:
        raise TraceError(f"{path}:1: the header must be {','.join(HEADER)}")
    first: datetime | None = None
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        try:
            moment_text, prompt_text, generated_text = row
            moment = datetime.fromisoformat(moment_text)
            first = first or moment
            yield TraceCall(
                arrival_s=(moment - first).total_seconds(),
                prompt_tokens=_tokens(prompt_text),
                generated_tokens=_tokens(generated_text),
            )
        except (ValueError, TypeError) as error:
            raise TraceError(f"{path}:{line}: {error}") from error


def _tokens(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_TOKENS):
        raise ValueError(f"{text!r} is not a number of tokens")
    return int(text)


def _lognormal(random: Random, median: float, sigma: float, most: int) -> int:
    """Draw from a lognormal distribution by the Box-Muller transform, cut to 1..`most`."""
    radius = math.sqrt(-2.0 * math.log(1.0 - random.random()))
    normal = radius * math.cos(2.0 * math.pi * random.random())
    return max(1, min(most, round(median * math.exp(sigma * normal))))
