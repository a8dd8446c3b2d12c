"""Learned outputs: small histograms that fade, bounded, and their copy on disk."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.learned_copy import COPY_NAME, LearnedCopy
from sidecar.learned_outputs import MAX_PAIRS, MAX_WEIGHT, MIN_CALLS, LearnedOutputs, OutputHistogram, bucket_edge


def learned_of(*outputs: int, tier: str | None = "pro") -> LearnedOutputs:
    """Return what calls with these outputs teach."""
    learned = LearnedOutputs()
    for output_tokens in outputs:
        learned.observe("m", tier, output_tokens)
    return learned


@given(st.integers(0, 1_000_000_000))
def test_a_bucket_is_named_by_its_largest_value(tokens: int) -> None:
    """An estimate is never below what was seen, and at most an eighth above."""
    edge = bucket_edge(tokens)

    assert tokens <= edge <= tokens + tokens / 8
    assert edge == bucket_edge(edge)


@given(st.lists(st.integers(0, 100_000), min_size=MIN_CALLS, max_size=300))
def test_p95_covers_95_of_100_calls(outputs: list[int]) -> None:
    """Whatever the outputs are, at least 95 of 100 are within the percentile, and fewer within less of it."""
    p95 = learned_of(*outputs).p95("m", "pro")

    assert p95 is not None
    assert 95 * len(outputs) <= 100 * sum(output <= p95 for output in outputs)
    assert 95 * len(outputs) > 100 * sum(bucket_edge(output) < p95 for output in outputs)


def test_few_calls_teach_nothing() -> None:
    """A percentile of a handful would be a coincidence."""
    assert learned_of(*[7] * (MIN_CALLS - 1)).p95("m", "pro") is None
    assert 7 == learned_of(*[7] * MIN_CALLS).p95("m", "pro")


def test_models_and_tiers_are_learned_apart() -> None:
    """Users of another tier may ask for other things."""
    learned = learned_of(*[7] * MIN_CALLS)

    assert [None, None] == [learned.p95("m", None), learned.p95("n", "pro")]


def test_what_was_seen_long_ago_fades() -> None:
    """After a change of a prompt the old outputs soon count for nothing."""
    learned = learned_of(*[900] * MAX_WEIGHT, *[9] * 5 * MAX_WEIGHT)

    assert 9 == learned.p95("m", "pro")


def test_a_histogram_is_small_however_many_calls_were_seen() -> None:
    """Buckets grow with the logarithm of the outputs, and rare ones are dropped."""
    histogram = OutputHistogram()
    for output_tokens in range(0, 1_000_000, 100):
        histogram.add(output_tokens)

    assert len(histogram.counts) < 150
    assert sum(histogram.counts.values()) == histogram.weight < MAX_WEIGHT


def test_pairs_are_bounded() -> None:
    """The pair that was not seen for the longest gives way."""
    learned = learned_of(*[7] * MIN_CALLS)
    for number in range(MAX_PAIRS - 1):
        learned.observe(f"model-{number}", None, 1)
    assert 7 == learned.p95("m", "pro")

    learned.observe("m", "pro", 7)
    learned.observe("one more", None, 1)
    assert 7 == learned.p95("m", "pro")
    assert MAX_PAIRS == len(learned.dump())

    for number in range(MAX_PAIRS):
        learned.observe(f"another-{number}", None, 1)
    assert learned.p95("m", "pro") is None


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """What was learned is kept on disk and taken up again."""
    learned = learned_of(*[7] * MIN_CALLS, tier=None)
    copy = LearnedCopy(tmp_path, LearnedOutputs())
    await copy.keep()
    assert not (tmp_path / COPY_NAME).exists()

    copy = LearnedCopy(tmp_path / "new", learned)
    learned.observe("m", None, 7)
    await copy.keep()
    again = LearnedOutputs()
    await LearnedCopy(tmp_path / "new", again).load()

    assert 7 == again.p95("m", None)
    assert learned.dump() == again.dump()


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '[{"model": "m"}]', '[{"model": "m", "tier": null, "calls": [[1, -1]]}]']
)
async def test_a_copy_that_cannot_be_used_is_ignored(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Estimates begin anew then, and the log says so."""
    (tmp_path / COPY_NAME).write_text(text)
    learned = LearnedOutputs()
    await LearnedCopy(tmp_path, learned).load()

    assert [] == learned.dump()
    assert [True] == ["begin anew" in record.message for record in caplog.records]


async def test_a_disk_that_refuses_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Estimates go on from memory."""
    (tmp_path / "file").write_text("")
    learned = LearnedOutputs()
    copy = LearnedCopy(tmp_path / "file", learned)
    learned.observe("m", None, 1)
    await copy.keep()

    assert [True] == ["could not be kept" in record.message for record in caplog.records]
