"""The arithmetic and the writing of the benchmark suite: what its tables say is what was measured."""

from pathlib import Path
from typing import Any

import pytest

from bench.suite.ceiling import commands_a_second
from bench.suite.figures import FIGURES
from bench.suite.latency import Latencies
from bench.suite.report import fill, page_blocks, readme_blocks, table
from bench.suite.rounds import ratio, run_rounds, summarize

ROOT = Path(__file__).parents[2]


def latencies(*seconds: float) -> Latencies:
    """Return a histogram of these."""
    counted = Latencies()
    counted.add(seconds)
    return counted


def test_percentiles_are_exact_to_three_digits() -> None:
    """Of 1 to 1,000 ms the 99th percentile is 990."""
    counted = latencies(*[each / 1000 for each in range(1, 1001)])

    assert 1000 == counted.count
    assert pytest.approx([500, 990, 1000], rel=0.001) == [counted.at_percentile_ms(each) for each in (50, 99, 100)]


def test_what_is_beyond_the_histogram_is_not_lost() -> None:
    """Less than a microsecond counts as one, more than a minute as a minute."""
    counted = latencies(0.0, 3600.0)

    assert 2 == counted.count
    assert pytest.approx([0.001, 60_000], rel=0.001) == [counted.at_percentile_ms(50), counted.at_percentile_ms(100)]


def test_rounds_are_merged_answer_by_answer() -> None:
    """A percentile of all rounds is that of all answers, not a mean of percentiles; encoding loses nothing."""
    parts = [latencies(*[0.001] * 98), latencies(0.1, 0.2)]
    merged = Latencies.merged(Latencies.decode(part.encode()) for part in parts)

    assert pytest.approx([1, 100, 200], rel=0.001) == [merged.at_percentile_ms(each) for each in (98, 99, 100)]


def test_no_latencies_have_no_percentiles() -> None:
    """A run without an answer is no run of 0 ms."""
    with pytest.raises(ValueError, match="no latencies"):
        latencies().summary()


def test_a_ratio_is_taken_round_by_round() -> None:
    """The median of the rounds' ratios, not the ratio of the medians."""
    series = {
        "above": [{"per_second": each} for each in (10.0, 40.0, 30.0)],
        "below": [{"per_second": each} for each in (10.0, 10.0, 20.0)],
    }

    assert {"median": 1.5, "min": 1.0, "max": 4.0} == ratio(series, "above", "below")


def test_rounds_go_forwards_and_backwards() -> None:
    """No case is always the first after another."""
    order: list[str] = []

    def case(name: str) -> Any:
        return lambda: order.append(name) or {"per_second": len(order)}

    series = run_rounds({"a": case("a"), "b": case("b")}, 2, lambda _: None)

    assert ["a", "b", "b", "a"] == order
    assert [{"per_second": 1}, {"per_second": 4}] == series["a"]


def test_a_summary_tells_the_spread_and_all_answers() -> None:
    """Each figure has its median, lowest and highest; the histograms of the rounds become one."""
    rounds = [{"per_second": each, **latencies(each / 1000).summary()} for each in (1.0, 3.0, 2.0)]

    summary = summarize(rounds)

    assert {"median": 2.0, "min": 1.0, "max": 3.0} == summary["per_second"]
    assert pytest.approx(3, rel=0.001) == summary["all_rounds"]["max_ms"]


def test_the_rate_of_redis_benchmark_is_read_behind_the_command() -> None:
    """It repeats the command without escaping it, commas and separators included."""
    output = (
        '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",'
        '"max_latency_ms"\n"FCALL a,b "c" \x1e,1","1234.50","1.0","1.0","1.0","1.0","1.0","1.0"\n'
    )

    assert 1234.5 == commands_a_second(output)


def spread(value: float) -> dict[str, float]:
    """Return the figure of rounds that were all alike."""
    return {"median": value, "min": value, "max": value}


def results_of(value: float) -> dict[str, Any]:
    """Return results in which each figure of the project has this value."""
    results: dict[str, Any] = {}
    for figure in FIGURES:
        place = results.setdefault(figure.part, {})
        for name in figure.path[:-1]:
            place = place.setdefault(name, {})
        place[figure.path[-1]] = spread(value)
    return results


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.text)
def test_an_aim_is_reached_from_its_side(figure: Any) -> None:
    """Just on the aim is reached; beyond it on the wrong side is not."""
    wrong = figure.aim * (0.99 if figure.side == "at least" else 1.01)

    assert [True, False] == [figure.is_reached(figure.found(results_of(value))) for value in (figure.aim, wrong)]


def test_a_part_that_was_not_measured_has_no_figures() -> None:
    """Nothing is said of it."""
    assert {None} == {figure.found({}) for figure in FIGURES}


def test_blocks_are_filled_again_and_again() -> None:
    """What stands around a block stays, and so do blocks that are not given."""
    page = "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n<!-- bench:y -->\nkept\n<!-- /bench:y -->\n"

    once = fill(page, {"x": r"new \1"})

    assert page.replace("old", r"new \1") == once == fill(once, {"x": r"new \1"})


def test_a_block_without_a_place_is_an_error() -> None:
    """Results do not get lost silently."""
    with pytest.raises(ValueError, match="no place for z"):
        fill("nothing here", {"z": "text"})


def test_tables_are_markdown() -> None:
    """The first column is words, the others are numbers."""
    assert "| a | b |\n| --- | ---: |\n| x | 1 |" == table(("a", "b"), [("x", "1")])


@pytest.mark.parametrize("part", ["figures", "machine", "table", "scenarios", "latency", "cost", "footprint", "growth"])
def test_the_page_has_a_place_for_every_part(part: str) -> None:
    """What is measured is shown."""
    assert "text" in fill((ROOT / "docs" / "performance.md").read_text(), {part: "text"})


def test_the_readme_has_a_place_for_its_numbers() -> None:
    """And nothing is written there without the table."""
    assert "text" in fill((ROOT / "README.md").read_text(), {"numbers": "text"})
    assert {} == readme_blocks({})


def test_figures_are_written_with_unit_aim_and_verdict() -> None:
    """A line says all that is needed to judge it."""
    case = {"store_us": spread(30), "script_p99_us": spread(900)}
    machine = dict.fromkeys(("measured_at", "commit", "cores", "cpu", "memory_gib", "platform", "python"), "")
    cost = {
        "cases": {f"{operation} 32": case for operation in ("check", "reserve", "settle")},
        "machine": {**machine, "packages": {"redis": "8.1"}, "redis_benchmark": "redis-benchmark 7"},
        "method": {"rounds": 5, "seconds": 1},
    }

    blocks = page_blocks({"cost": cost})

    measured = "30.0 µs | 30.0 µs to 30.0 µs"
    assert f"| server time of a check, batch of 32 | {measured} | at most 28.0 µs | **no** |" in blocks["figures"]
    assert f"| server time of a reserve, batch of 32 | {measured} | at most 42.0 µs | yes |" in blocks["figures"]
    assert "| check | 30.0 (900) |" in blocks["cost"]
