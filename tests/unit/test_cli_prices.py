"""`spendgate prices build | show | cost` without a control plane."""

import json
from pathlib import Path

import pytest

from cli import prices
from cli.main import main
from tests.support.prices import price_of

OVERRIDES = """\
overrides:
  - {provider: openai, model: gpt-4o, input_usd_per_million: 2, output_usd_per_million: 8}
  - {model: own, input_usd_per_million: 0, output_usd_per_million: 0}
providers:
  - {id: openai, names: [gateway]}
"""


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["prices", *words])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A list of two prices."""
    path = tmp_path / "prices.json"
    free = price_of(model="free", input_usd_per_million=0)
    late = {"from": "2031-01-31", "input_usd_per_million": 2, "output_usd_per_million": 1}
    path.write_text(json.dumps([price_of(names=["m-*"], input_usd_per_million="1.5", changes=[late]), free]))
    return path


def test_a_build_with_overrides_is_a_book(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All known models, under what the operator says, for a day; what was left out is told."""
    overrides, output = tmp_path / "overrides.yaml", tmp_path / "book.json"
    overrides.write_text(OVERRIDES)
    code, _, told = _run(
        capsys, "build", "--overrides", str(overrides), "--output", str(output), "--date", "2026-11-25"
    )
    assert (0, True) == (code, " models, 2 overrides, " in told and "left out, is priced by audio_hours" in told)

    gateway = ("gpt-4o", "--provider", "gateway", "--input", "1000")
    for words, expected in (gateway, "0.002 USD, openai/gpt-4o, "), (("own", "--input", "9"), "0.00 USD, own, "):
        code, shown, _ = _run(capsys, "cost", *words, "--book", str(output))
        assert (0, True) == (code, shown.startswith(expected))
        assert " 2026-11-25 + overrides " in shown


def test_a_build_goes_to_standard_output(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Without --output the book is printed, and nothing but the book."""
    assert 0 == main(["prices", "build"])

    assert json.loads(capsysbinary.readouterr().out)["source"].startswith("genai-prices ")


def test_faulty_overrides_are_told_with_their_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every fault at once, and no book."""
    overrides = tmp_path / "overrides.yaml"
    overrides.write_text("overrides:\n  - {model: m, input_usd_per_million: -1}\n")
    code, _, told = _run(capsys, "build", "--overrides", str(overrides))

    expected = [
        f"{overrides}: overrides[0].input_usd_per_million: must not be negative",
        f"{overrides}: overrides[0].output_usd_per_million: is required; null for a model without output",
    ]
    assert (1, expected) == (code, told.splitlines())


def test_a_missing_source_is_told_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The source is an extra."""

    def missing() -> str:
        raise ModuleNotFoundError("genai_prices")

    monkeypatch.setattr(prices, "source_version", missing)
    code, _, told = _run(capsys, "build")

    assert (1, True) == (code, "pip install 'spendgate-server[prices]'" in told)


def test_a_price_is_shown_field_by_field(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it would stand in a file."""
    code, shown, _ = _run(capsys, "show", "m-7", "--book", str(book))
    expected = [
        "model: m",
        "names: m-*",
        "input_usd_per_million: 1.5",
        "output_usd_per_million: 0",
        "changes: from 2031-01-31, input_usd_per_million 2, output_usd_per_million 1",
    ]
    assert (0, expected) == (code, shown.splitlines()[:-1])
    assert shown.splitlines()[-1].startswith("version: own prices ")


def test_a_book_is_summed_up(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a model."""
    code, shown, _ = _run(capsys, "show", "--book", str(book))

    assert (0, "2 models, 0 overrides, 0 providers") == (code, shown.splitlines()[1])


def test_a_cost_depends_on_the_time(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A price that begins later can be asked for now."""
    costs = [
        _run(capsys, "cost", "m", "--input", "2", "--book", str(book), "--at", at)[1].split()[0]
        for at in ("2031-01-30T23:59:59Z", "2031-01-31T00:00:00Z")
    ]
    assert ["0.000003", "0.000004"] == costs


def test_a_free_model_is_not_an_unpriced_one(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One costs nothing; the other's cost is not known."""
    code, shown, _ = _run(capsys, "cost", "free", "--book", str(book))
    assert (0, "0.00 USD") == (code, shown[:8])
    code, shown, told = _run(capsys, "cost", "stranger", "--book", str(book))
    assert (1, "", True) == (code, shown, "stranger has no price" in told)
    assert 1 == _run(capsys, "show", "stranger", "--book", str(book))[0]


@pytest.mark.parametrize("words", [("--input", "-1"), ("--at", "soon"), ("--output", "1000000001")])
def test_wrong_arguments_are_refused(book: Path, words: tuple[str, str]) -> None:
    """By argparse, with its usage."""
    with pytest.raises(SystemExit) as caught:
        main(["prices", "cost", "m", *words, "--book", str(book)])

    assert 2 == caught.value.code


def test_a_file_that_is_no_book_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its faults."""
    path = tmp_path / "book.yaml"
    path.write_text("version: v\nmodles: []\n")
    code, _, told = _run(capsys, "show", "--book", str(path))

    assert (1, True) == (code, f"{path}: prices.modles: unknown field; did you mean 'models'?" in told)
