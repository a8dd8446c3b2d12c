"""Results as pictures: SVG files beside the page, the same bytes for the same results."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.suite.figures import FIGURES, Results
from bench.suite.latency import Latencies

STYLE: Final = {
    "svg.hashsalt": "spendgate",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
BLUE, GRAY, RED = "#1f6feb", "#8c959f", "#cf222e"
BASELINES: Final = ("no-op", "redis-py pool", "limits", "redis-benchmark", "bare round trip")
GROWN: Final = {
    "rules": "rules",
    "users": "users with counters",
    "counters": "counters of a user",
    "thresholds": "thresholds of the rule",
}
NINES: Final = (50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw what was measured; returns the files."""
    written = []
    with mpl.rc_context(STYLE):
        for part, make in MAKERS.items():
            if part not in results:
                continue
            picture = make(results[part])
            path = directory / f"performance-{part}.svg"
            picture.savefig(path, bbox_inches="tight", metadata={"Date": None})
            plt.close(picture)
            # Without the blanks at the ends of its lines, which a diff would show.
            path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
            written.append(path)
    return written


def _bars(axes: Axes, cases: Mapping[str, Any], *, beside: Sequence[str] = ()) -> None:
    """Draw rates as bars; those `beside` which the others stand are gray."""
    names = list(cases)[::-1]
    rates = [cases[name]["per_second"] for name in names]
    medians = [rate["median"] for rate in rates]
    below = [rate["median"] - rate["min"] for rate in rates]
    above = [rate["max"] - rate["median"] for rate in rates]
    colors = [GRAY if name in beside else BLUE for name in names]
    axes.barh(names, medians, xerr=(below, above), color=colors, error_kw={"ecolor": "black", "capsize": 2})
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("operations a second: median, lowest and highest round")
    axes.grid(axis="y", visible=False)


def _table(document: Mapping[str, Any]) -> Any:
    picture, axes = plt.subplots(figsize=(7, 3.6))
    _bars(axes, document["cases"], beside=BASELINES)
    return picture


def _scenarios(document: Mapping[str, Any]) -> Any:
    picture, axes = plt.subplots(figsize=(7, 4.6))
    _bars(axes, document["cases"])
    return picture


def _latency(document: Mapping[str, Any]) -> Any:
    picture, axes = plt.subplots(figsize=(7, 3.6))
    for name, case in document["cases"].items():
        latencies = Latencies.decode(case["all_rounds"]["histogram"])
        # As many nines as there are answers behind.
        shares = [share for share in NINES if (100 - share) * latencies.count >= 100]
        values = [latencies.at_percentile_ms(share) for share in shares]
        axes.plot(range(len(shares)), values, marker=".", label=f"{name} of saturation" if "%" in name else name)
    axes.set_xticks(range(len(NINES)), [f"p{share:g}" for share in NINES])
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.legend(frameon=False)
    return picture


def _cost(document: Mapping[str, Any]) -> Any:
    picture, axes = plt.subplots(figsize=(7, 3.2))
    by_operation: dict[str, dict[int, float]] = {}
    for name, case in document["cases"].items():
        operation, batch = name.split()
        by_operation.setdefault(operation, {})[int(batch)] = case["store_us"]["median"]
    for color, (operation, costs) in zip((BLUE, RED, GRAY), by_operation.items(), strict=True):
        axes.plot(list(costs), list(costs.values()), marker="o", color=color, label=operation)
        aim = next(figure.aim for figure in FIGURES if figure.path[1:2] == (f"{operation} 32",))
        axes.plot([32], [aim], marker="_", markersize=14, color=color)
    axes.set_xscale("log", base=2)
    batches = sorted({batch for costs in by_operation.values() for batch in costs})
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_xlabel("operations in a batch (dashes: the aims)")
    axes.set_ylabel("µs of the store an operation")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return picture


def _growth(document: Mapping[str, Any]) -> Any:
    picture, places = plt.subplots(2, 2, figsize=(8, 5.2), layout="constrained")
    for axes, (part, title) in zip(places.flat, GROWN.items(), strict=True):
        cases = document[part]
        rates = [case["per_second"] for case in cases.values()]
        medians = [rate["median"] for rate in rates]
        below = [rate["median"] - rate["min"] for rate in rates]
        above = [rate["max"] - rate["median"] for rate in rates]
        labels = [f"{int(name.split()[0]):,}" for name in cases]
        axes.errorbar(labels, medians, yerr=(below, above), marker="o", color=BLUE, ecolor=GRAY, capsize=2)
        axes.set_xlabel(title)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:,.0f}")
    for axes in places[:, 0]:
        axes.set_ylabel("HTTP checks a second")
    return picture


MAKERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "table": _table,
    "scenarios": _scenarios,
    "latency": _latency,
    "cost": _cost,
    "growth": _growth,
}
