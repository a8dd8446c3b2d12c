"""Traces: reading real ones, generating our own, and who makes their calls."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from cli.population import Population, PopulationError, TierShares
from cli.trace import HEADER, TraceCall, TraceError, count_calls, generate_trace, read_trace, trace_lines

ROOT = Path(__file__).parents[2]
DEMO_CALLS, DEMO_SEED = 1500, 7
TIERS = TierShares(names=("free", "pro"), weights=(0.7, 0.3))


def _file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("\n".join([",".join(HEADER), *lines, ""]))
    return path


def _population(*, users: int = 50, zipf: float = 1.1, seed: int = 1) -> Population:
    return Population(users=users, zipf=zipf, tiers=TIERS, seed=seed)


def test_a_line_is_a_call(tmp_path: Path) -> None:
    """A call has its seconds since the first one, its prompt tokens and its generated tokens."""
    path = _file(tmp_path, "2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:15:50.9951690,396,109")

    assert [TraceCall(0.0, 374, 44), TraceCall(4.314579, 396, 109)] == list(read_trace(path))


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    """A trace saved with CRLF reads the same."""
    path = _file(tmp_path, "2023-11-16 18:15:46.6805900,374,44\r")

    assert [TraceCall(0.0, 374, 44)] == list(read_trace(path))


def test_empty_lines_are_skipped(tmp_path: Path) -> None:
    """An empty line is no call."""
    path = _file(tmp_path, "", "2023-11-16 18:15:46,374,44", "")

    assert (1, 1) == (len(list(read_trace(path))), count_calls(path))


@pytest.mark.parametrize(
    "line",
    [
        "2023-11-16 18:15:46,374",
        "2023-11-16 18:15:46,374,44,1",
        "yesterday,374,44",
        "2023-11-16 18:15:46,many,44",
        "2023-11-16 18:15:46,-1,44",
        "2023-11-16 18:15:46,1.5,44",
        "2023-11-16 18:15:46,374,100000001",
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    """A line that is no call stops the reading with the file and the line's number."""
    path = _file(tmp_path, "2023-11-16 18:15:46,374,44", line)

    with pytest.raises(TraceError, match=r"trace\.csv:3: "):
        list(read_trace(path))


def test_times_with_and_without_zone_do_not_mix(tmp_path: Path) -> None:
    """A line whose time cannot be compared with the first one is refused by its number."""
    path = _file(tmp_path, "2023-11-16 18:15:46,374,44", "2023-11-16 18:15:47+00:00,374,44")

    with pytest.raises(TraceError, match=r"trace\.csv:3: "):
        list(read_trace(path))


def test_another_header_is_refused(tmp_path: Path) -> None:
    """A CSV with other columns is no trace."""
    path = tmp_path / "trace.csv"
    path.write_text("time,prompt,answer\n")

    with pytest.raises(TraceError, match="the header must be TIMESTAMP,ContextTokens,GeneratedTokens"):
        list(read_trace(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A trace that does not exist is reported with its path."""
    with pytest.raises(TraceError, match=r"absent\.csv"):
        list(read_trace(tmp_path / "absent.csv"))


def test_a_generated_trace_is_read_back(tmp_path: Path) -> None:
    """Writing a generated trace and reading it keeps its tokens."""
    calls = list(generate_trace(200, 3))
    path = tmp_path / "trace.csv"
    path.write_text("".join(trace_lines(calls)))

    expected = [(call.prompt_tokens, call.generated_tokens) for call in calls]
    assert expected == [(call.prompt_tokens, call.generated_tokens) for call in read_trace(path)]


def test_generated_calls_arrive_in_order() -> None:
    """No call arrives before the one above it."""
    assert all(early.arrival_s <= late.arrival_s for early, late in pairwise(generate_trace(500, 3)))


def test_generated_tokens_stay_in_their_bounds() -> None:
    """Every generated call has at least one token each way and no more than its bounds."""
    calls = list(generate_trace(5_000, 3))

    assert all(1 <= call.prompt_tokens <= 16_000 and 1 <= call.generated_tokens <= 1_000 for call in calls)


def test_another_seed_makes_another_trace() -> None:
    """The seed decides."""
    assert list(generate_trace(20, 1)) != list(generate_trace(20, 2))


def test_the_demo_trace_can_be_made_again() -> None:
    """config/demo-trace.csv is what `spendgate trace generate` makes from its seed."""
    expected = "".join(trace_lines(generate_trace(DEMO_CALLS, DEMO_SEED)))

    assert expected == (ROOT / "config" / "demo-trace.csv").read_text()


def test_the_same_seed_draws_the_same_callers() -> None:
    """Two populations with one seed draw the same callers in the same order."""
    first, second = _population(), _population()

    assert [first.draw() for _ in range(500)] == [second.draw() for _ in range(500)]


def test_another_seed_draws_other_callers() -> None:
    """The seed decides who calls."""
    first, second = _population(seed=1), _population(seed=2)

    assert [first.draw() for _ in range(50)] != [second.draw() for _ in range(50)]


def test_a_user_has_one_tier() -> None:
    """Every call of a user carries the same tier."""
    population = _population()
    callers = {population.draw() for _ in range(5_000)}

    assert len({caller.user_id for caller in callers}) == len(callers)


def test_users_follow_zipf() -> None:
    """The first user is drawn about twice as often as the second when the exponent is one."""
    population = _population(users=10, zipf=1.0)
    counts = Counter(population.draw().user_id for _ in range(20_000))

    assert 1.8 < counts["user-01"] / counts["user-02"] < 2.2


def test_tiers_follow_their_shares() -> None:
    """About 70 % of the users have the tier that was given a share of 0.7."""
    population = _population(users=5_000, zipf=0.01)
    tiers = {caller.user_id: caller.tier for caller in (population.draw() for _ in range(40_000))}

    assert 0.67 < Counter(tiers.values())["free"] / len(tiers) < 0.73


def test_tier_shares_are_parsed() -> None:
    """Tiers and shares are separated by colons and commas; a tier may contain a colon."""
    assert TierShares(names=("free", "eu:pro"), weights=(0.75, 0.25)) == TierShares.parse("free:0.75, eu:pro:0.25")


@pytest.mark.parametrize(
    "text", ["", "free", "free:x", ":1", "free:0", "free:-1,pro:2", "free:1,free:1", "a:nan", "a:inf"]
)
def test_senseless_tier_shares_are_refused(text: str) -> None:
    """Shares that make no distribution are refused."""
    with pytest.raises(PopulationError):
        TierShares.parse(text)


@pytest.mark.parametrize("users", [0, 1_000_001])
def test_a_senseless_number_of_users_is_refused(users: int) -> None:
    """A population has 1 to 1,000,000 users."""
    with pytest.raises(PopulationError, match="1 to 1,000,000"):
        _population(users=users)
