"""Usages that are decoded: parts, searches, and output that is not known yet."""

from typing import Any

import pytest

from ledger.errors import InvalidInput
from ledger.usage import PARTS, Estimate, UnknownOutput, Usage
from sidecar.api.decode_usage import decode_usage

INPUT = {"model": "m", "input_tokens": 10}


def refused_field(value: object, *, may_estimate: bool = True) -> str | None:
    """Return the field for which a usage is refused."""
    with pytest.raises(InvalidInput) as caught:
        decode_usage(value, may_estimate=may_estimate)
    return caught.value.field


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({}, UnknownOutput()),
        ({"output_tokens": None}, UnknownOutput()),
        ({"max_output_tokens": 5}, UnknownOutput(max_output_tokens=5)),
        ({"max_output_tokens": 0}, UnknownOutput(max_output_tokens=0)),
        ({"estimate": "p95"}, UnknownOutput(estimate=Estimate.P95)),
        (
            {"max_output_tokens": 5, "estimate": "worst_case"},
            UnknownOutput(max_output_tokens=5, estimate=Estimate.WORST_CASE),
        ),
    ],
)
def test_a_reserve_may_not_know_its_output(fields: dict[str, Any], unknown: UnknownOutput) -> None:
    """It may say how many tokens it asks for, and how to estimate them."""
    assert Usage(model="m", input_tokens=10, unknown_output=unknown) == decode_usage(INPUT | fields, may_estimate=True)


def test_output_that_is_known_is_not_estimated() -> None:
    """Nothing else may be said beside it."""
    known = {**INPUT, "output_tokens": 0}

    assert decode_usage(known, may_estimate=True).unknown_output is None
    assert "usage.max_output_tokens" == refused_field({**known, "max_output_tokens": 5})
    assert "usage.estimate" == refused_field({**known, "estimate": "p95"})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"estimate": "best_case"}, "usage.estimate"),
        ({"estimate": 95}, "usage.estimate"),
        ({"max_output_tokens": -1}, "usage.max_output_tokens"),
        ({"max_output_tokens": True}, "usage.max_output_tokens"),
        ({"input_tokens": None}, "usage.input_tokens"),
        ({"output_tokens": "5"}, "usage.output_tokens"),
        ({"web_searches": -1}, "usage.web_searches"),
        ({"most": 1}, "usage.most"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], field: str) -> None:
    """A usage is refused under the path of what is wrong in it."""
    assert field == refused_field(INPUT | fields)


@pytest.mark.parametrize("name", ["max_output_tokens", "estimate"])
def test_only_a_reserve_may_estimate(name: str) -> None:
    """A check and a settle tell what was used."""
    assert f"usage.{name}" == refused_field({**INPUT, "output_tokens": 1, name: 5}, may_estimate=False)
    assert "usage.output_tokens" == refused_field(INPUT, may_estimate=False)


@pytest.mark.parametrize("part", PARTS)
def test_a_whole_is_at_least_its_parts(part: str) -> None:
    """Some providers tell reasoning beside the output: nothing that was used may get lost."""
    usage = decode_usage({**INPUT, "output_tokens": 10, part: 15})

    assert (15, 15) == (getattr(usage, part), getattr(usage, PARTS[part]))


def test_canonical_text_tells_estimates_apart() -> None:
    """A request that comes again with another way to estimate is another request."""
    unknowns = [
        None,
        UnknownOutput(),
        UnknownOutput(max_output_tokens=0),
        UnknownOutput(estimate=Estimate.P95),
        UnknownOutput(max_output_tokens=0, estimate=Estimate.P95),
        UnknownOutput(max_output_tokens=0, estimate=Estimate.MAX_TOKENS),
    ]
    assert len(unknowns) == len({Usage(model="m", unknown_output=unknown).canonical for unknown in unknowns})
