"""The figures that the project holds itself to, and where each is found in the results."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Results = Mapping[str, Mapping[str, Any]]
"""The documents of the parts, by name."""
Spread = Mapping[str, float]
AT_LEAST: Final = "at least"
AT_MOST: Final = "at most"
_IS_REACHED: Final[Mapping[str, Callable[[float, float], bool]]] = {AT_LEAST: operator.ge, AT_MOST: operator.le}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: what it is, its aim and which side of it is well, how it is written, and its place."""

    text: str
    aim: float
    side: str
    form: str
    part: str
    path: Sequence[str]

    def found(self, results: Results) -> Spread | None:
        """Return the median and the spread; None if its part was not measured."""
        place: Any = results.get(self.part)
        for name in self.path if place else ():
            place = place[name]
        return place or None

    def is_reached(self, spread: Spread) -> bool:
        """Say whether the median is where it should be."""
        return _IS_REACHED[self.side](spread["median"], self.aim)

    def written(self, value: float) -> str:
        """Return a value with its unit."""
        return self.form.format(value)

    @property
    def aim_text(self) -> str:
        """The aim in words."""
        return f"{self.side} {self.written(self.aim)}"


def _ratio(text: str, aim: float, name: str, side: str = AT_LEAST) -> Figure:
    return Figure(text, aim, side, "{:.2f}", "table", ("ratios", name))


def _script(operation: str, aim_us: float) -> Figure:
    text = f"server time of a {operation}, batch of 32"
    return Figure(text, aim_us, AT_MOST, "{:.1f} µs", "cost", ("cases", f"{operation} 32", "store_us"))


def _start(text: str, aim: float, form: str, overrides: str, name: str) -> Figure:
    return Figure(text, aim, AT_MOST, form, "footprint", ("starts", f"{overrides} overrides", name))


FIGURES: Final = (
    _ratio("HTTP JSON check, 32 connections, against the no-op handler", 0.75, "HTTP to no-op"),
    _ratio("the same against one program call a request through redis-py's pool", 2.5, "HTTP to redis-py pool"),
    _ratio("stream, 1 check a frame, 32 in flight, against HTTP JSON", 2.5, "stream 1 to HTTP"),
    _ratio("stream, 64 a frame, against redis-benchmark, same work, pipelined", 0.6, "stream 64 to redis-benchmark"),
    _ratio(
        "p50 of an HTTP check on one connection, against a bare round trip from Python",
        2.5,
        "one connection to bare round trip",
        side=AT_MOST,
    ),
    Figure("p99 at half of the saturated load", 5.0, AT_MOST, "{:.1f} ms", "latency", ("cases", "50%", "p99_ms")),
    Figure(
        "the event loop's own lag meanwhile, worst of a run",
        5.0,
        AT_MOST,
        "{:.1f} ms",
        "latency",
        ("cases", "50%", "loop_lag_ms"),
    ),
    _script("check", 28),
    _script("reserve", 42),
    _script("settle", 38),
    _ratio(
        "throughput with 100,000 overrides against 10, the same 10 overridden users",
        0.95,
        "100,000 to 10 overrides, 10 users",
    ),
    _ratio(
        "the same with 1,000 users: all overridden, against 10 of them",
        0.95,
        "100,000 to 10 overrides, 1,000 users",
    ),
    _start("resident memory, 10 overrides", 70, "{:.0f} MiB", "10", "resident_mib"),
    _start("resident memory, 100,000 overrides", 160, "{:.0f} MiB", "100,000", "resident_mib"),
    _start("start to ready, rule set of 10 overrides on disk", 1, "{:.2f} s", "10", "ready_s"),
    _start("start to ready, rule set of 100,000 overrides on disk", 1, "{:.2f} s", "100,000", "ready_s"),
)
