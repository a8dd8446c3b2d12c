"""Results as Markdown, put between the marks of a page: ``<!-- bench:NAME -->`` to ``<!-- /bench:NAME -->``."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from bench.suite.figures import FIGURES, Results

Blocks = Mapping[str, str]
PICTURES: Final = {
    "table": "Checks a second, beside the baselines",
    "scenarios": "Operations a second of each scenario",
    "latency": "Percentiles of latency at each load",
    "cost": "Microseconds of the store an operation, by the size of a batch",
    "growth": "Checks a second by rules, users, counters and thresholds",
}
"""The parts that `bench.suite.plots` draws, and what their pictures show."""


def fill(page: str, blocks: Blocks) -> str:
    """Return a page with its blocks renewed; those that are not given stay. Raises `ValueError` for unknown ones."""
    for name, text in blocks.items():
        place = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
        if not place.search(page):
            raise ValueError(f"the page has no place for {name}")
        page = place.sub(lambda match, text=text: f"{match[1]}{text}\n{match[2]}", page)  # type: ignore[misc]
    return page


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page_blocks(results: Results) -> Blocks:
    """Return the blocks of docs/performance.md for the parts that were measured."""
    makers: dict[str, Callable[[Results], str]] = {
        "table": throughputs,
        "scenarios": scenarios,
        "latency": latencies,
        "cost": costs,
        "footprint": footprint,
        "growth": growth,
    }
    blocks = {part: f"{make(results)}{_picture(part)}" for part, make in makers.items() if part in results}
    return {"machine": machine(results), "figures": figures(results), **blocks}


def _picture(part: str) -> str:
    """Return the link to a part's picture, where it has one."""
    text = PICTURES.get(part)
    return f"\n\n![{text}](images/performance-{part}.svg)" if text else ""


def figures(results: Results) -> str:
    """Return the table of what the project holds itself to."""
    rows = []
    for figure in FIGURES:
        spread = figure.found(results)
        if spread is None:
            continue
        between = f"{figure.written(spread['min'])} to {figure.written(spread['max'])}"
        reached = "yes" if figure.is_reached(spread) else "**no**"
        rows.append((figure.text, figure.written(spread["median"]), between, figure.aim_text, reached))
    return table(("figure", "median", "all rounds", "aim", "reached"), rows)


def machine(results: Results) -> str:
    """Return on what and when each part was measured."""
    lines = []
    for part, document in results.items():
        facts, method = document["machine"], document["method"]
        seconds = "" if part == "cost" else f" of {method['seconds']:g} s"
        lines.append(
            f"- {part}: {facts['measured_at']}, commit `{facts['commit']}`, {method['rounds']} rounds{seconds}"
        )
    facts = next(iter(results.values()))["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    lines.append(f"- {facts['cores']} cores ({facts['cpu']}), {facts['memory_gib']} GiB, {facts['platform']}")
    malloc = f"; the store's malloc: {facts['store_malloc']}" if "store_malloc" in facts else ""
    lines.append(f"- Python {facts['python']}; {versions}; {facts['redis_benchmark']}{malloc}")
    return "\n".join(lines)


def _count(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:,.0f}"


def _range(spread: Mapping[str, float]) -> str:
    return f"{spread['min']:,.0f} to {spread['max']:,.0f}"


def _ms(case: Mapping[str, Any], name: str) -> str:
    return f"{case[name]['median']:.2f}" if name in case else ""


def _us(case: Mapping[str, Any], name: str) -> str:
    return f"{case[name]['median']:.0f}" if name in case else ""


def _throughput_table(cases: Mapping[str, Any], first: str) -> str:
    heads = (first, "a second", "all rounds", "p50 ms", "p99 ms", "server CPU µs", "store CPU µs")
    rows = [
        (
            *(name, _count(case["per_second"]), _range(case["per_second"])),
            *(_ms(case, "p50_ms"), _ms(case, "p99_ms"), _us(case, "server_cpu_us"), _us(case, "store_cpu_us")),
        )
        for name, case in cases.items()
    ]
    return table(heads, rows)


def throughputs(results: Results) -> str:
    """Return what stands behind the table's ratios."""
    ratios = [
        (name, f"{ratio['median']:.2f}", f"{ratio['min']:.2f} to {ratio['max']:.2f}")
        for name, ratio in results["table"]["ratios"].items()
    ]
    whole = _throughput_table(results["table"]["cases"], "checks by")
    return f"{whole}\n\n{table(('ratio', 'median', 'all rounds'), ratios)}"


def scenarios(results: Results) -> str:
    """Return the scenarios, operations a second."""
    return _throughput_table(results["scenarios"]["cases"], "scenario")


def latencies(results: Results) -> str:
    """Return latency by load."""
    heads = ("load", "a second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "loop lag ms", "sent late p99 ms")
    names = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms", "loop_lag_ms", "sent_late_p99_ms")
    rows = [
        (name, _count(case["per_second"]), *[_ms(case, each) for each in names])
        for name, case in results["latency"]["cases"].items()
    ]
    return table(heads, rows)


def costs(results: Results) -> str:
    """Return the scripts' costs by operation and batch."""
    cases = results["cost"]["cases"]
    batches = sorted({int(name.split()[1]) for name in cases})
    operations = list(dict.fromkeys(name.split()[0] for name in cases))

    def cell(operation: str, batch: int) -> str:
        case = cases[f"{operation} {batch}"]
        return f"{case['store_us']['median']:.1f} ({case['script_p99_us']['median']:,.0f})"

    rows = [(operation, *[cell(operation, batch) for batch in batches]) for operation in operations]
    return table(("µs an operation (p99 of a run)", *[f"batch of {batch}" for batch in batches]), rows)


def footprint(results: Results) -> str:
    """Return start, memory, scrapes and what is stored."""
    document = results["footprint"]
    starts = [
        (name, f"{case['ready_s']['median']:.2f}", f"{case['resident_mib']['median']:.0f}")
        for name, case in document["starts"].items()
    ]
    scrapes = [
        (f"{scrape['users']:,}", f"{scrape['scrape_ms']['median']:.1f}", f"{scrape['bytes']:,}")
        for scrape in document["scrapes"]
    ]
    stored = ", ".join(f"a {kind} {size:.0f}" for kind, size in document["stored_bytes"].items())
    return "\n\n".join(
        (
            table(("rule set", "start to ready, s", "resident MiB"), starts),
            table(("users seen", "a scrape, ms", "bytes"), scrapes),
            f"Bytes in the store (MEMORY USAGE): {stored}.",
        )
    )


def growth(results: Results) -> str:
    """Return the growth curves as tables."""
    document = results["growth"]
    rules = [
        (f"{int(count):,}", *_grown(case), f"{case['ready_s']['median']:.2f}", _count(case["resident_mib"]))
        for count, case in document["rules"].items()
    ]
    users = [
        (f"{int(count):,}", *_grown(case), _count(case["stream_per_second"]), _count(case["stored_mib"]))
        for count, case in document["users"].items()
    ]
    return "\n\n".join(
        (
            table(("rules", "HTTP a second", "p99 ms", "start to ready, s", "resident MiB"), rules),
            table(("users with counters", "HTTP a second", "p99 ms", "stream 64 a second", "store MiB"), users),
            table(
                ("counters of a user", "HTTP a second", "p99 ms"),
                [(name, *_grown(case)) for name, case in document["counters"].items()],
            ),
            table(
                ("thresholds of the rule", "HTTP a second", "p99 ms"),
                [(name, *_grown(case)) for name, case in document["thresholds"].items()],
            ),
        )
    )


def _grown(case: Mapping[str, Any]) -> tuple[str, str]:
    return _count(case["per_second"]), _ms(case, "p99_ms")


README_CASES: Final = {
    "no-op": "no-op aiohttp handler, same JSON",
    "Spendgate": "**Spendgate**, exact and atomic",
    "redis-py pool": "one program call a request through redis-py's pool",
    "limits": "`limits`: counts calls in a window, no money",
    "stream, 64 a frame": "Spendgate, one stream, 64 a frame",
    "redis-benchmark": "redis-benchmark, the same program: the ceiling",
}


def readme_blocks(results: Results) -> Blocks:
    """Return the README's numbers."""
    if "table" not in results:
        return {}
    cases, ratios = results["table"]["cases"], results["table"]["ratios"]
    rows = [
        (text, _count(cases[name]["per_second"]), _ms(cases[name], "p50_ms"), _ms(cases[name], "p99_ms"))
        for name, text in README_CASES.items()
    ]

    def told(name: str) -> str:
        ratio = ratios[name]
        return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"

    words = (
        f"Ratios of the same rounds: {told('HTTP to no-op')} of the no-op, {told('HTTP to redis-py pool')} times\n"
        f"the pool; the stream {told('stream 64 to redis-benchmark')} of the ceiling."
    )
    return {"numbers": f"{table(('checks by', 'a second', 'p50 ms', 'p99 ms'), rows)}\n\n{words}"}
