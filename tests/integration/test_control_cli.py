"""The command line against a control plane: rule files applied, compared, exported; adjustments; what it says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from cli.main import main
from tests.support.control_plane import PUSH_TOKEN, READ_TOKEN, TOKENS, WRITE_TOKEN, ControlPlane, control_plane

RULES = """\
workspace: {timezone: UTC, mode: enforce}
rules:
  - {kind: tier_template, key: free, limit_usd: 5, window: month, action: block}
  - {kind: user_override, key: user-42, limit_usd: 200, window: day, note: "a raise"}
"""
Told = tuple[int, str, str]
Command = Callable[..., Awaitable[Told]]


@pytest_asyncio.fixture(loop_scope="function")
async def control(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane with a token for each scope."""
    async with control_plane(valkey_url, **TOKENS) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A rule file."""
    path = tmp_path / "budgets.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def command(control: ControlPlane, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command with a token and return its exit code and what it printed."""
    monkeypatch.setenv("SPENDGATE_ACTOR", "ann")

    async def run(words: Sequence[str], token: tuple[str, str] = ("WRITE", WRITE_TOKEN)) -> Told:
        monkeypatch.setenv(f"SPENDGATE_{token[0]}_TOKEN", token[1])
        code = await asyncio.to_thread(main, [*words, "--control-url", control.url])
        monkeypatch.delenv(f"SPENDGATE_{token[0]}_TOKEN")
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    return run


async def test_a_rule_file_is_compared_applied_and_exported(command: Command, file: Path, tmp_path: Path) -> None:
    """The round trip: after `apply` neither the file nor the export differs."""
    code, shown, _ = await command(["rules", "diff", str(file)])
    assert (1, True) == (code, "+ tier_template free, month: 5.00 USD, block" in shown)
    assert (0, "revision 1: 2 added, 0 changed, 0 removed, 0 unchanged\n", "") == await command(
        ["rules", "apply", str(file), "--note", "first"]
    )
    export = tmp_path / "export.yaml"
    assert 0 == (await command(["rules", "export", str(export)]))[0]
    for compared in (file, export):
        expected = "0 added, 0 changed, 0 removed, 2 unchanged, against revision 1\n"
        assert (0, expected, "") == await command(["rules", "diff", str(compared)])
    assert (0, "revision 1: 0 added, 0 changed, 0 removed, 2 unchanged\n", "") == await command(
        ["rules", "apply", str(export)]
    )


async def test_a_diff_tells_before_and_after(command: Command, file: Path) -> None:
    """Of rules and of settings; of prices the versions."""
    await command(["rules", "apply", str(file)])
    changed = RULES.replace("enforce", "observe").replace("limit_usd: 5", "limit_usd: 6").replace("200", "null")
    prices = "prices: {version: v7, models: [{model: m, input_usd_per_million: 1, output_usd_per_million: 2}]}\n"
    await asyncio.to_thread(file.write_text, changed + prices)
    code, shown, _ = await command(["rules", "diff", str(file)])
    assert (
        1,
        [
            "~ tier_template free, month: limit_usd 5.00 -> 6.00",
            "~ user_override user-42, day: limit_usd 200.00 -> none",
            "~ workspace: mode enforce -> observe",
            "~ prices: none -> v7",
            "0 added, 2 changed, 0 removed, 0 unchanged, against revision 1",
        ],
    ) == (code, shown.splitlines())


async def test_exports_have_forms(command: Command, file: Path) -> None:
    """JSON, without ids, of an earlier revision, on standard output."""
    await command(["rules", "apply", str(file)])
    await command(["rules", "apply", "config/demo-budgets.yaml"])
    code, shown, _ = await command(["rules", "export", "--json", "--no-ids", "--revision", "1"])
    assert (0, True, False) == (code, '"key":"user-42"' in shown, '"id"' in shown)


async def test_a_faulty_file_is_refused_with_its_faults(command: Command, file: Path) -> None:
    """On standard error, by path, and nothing is changed."""
    await asyncio.to_thread(file.write_text, "rules: [{kind: tier_template, key: free, limit_usd: -1, acton: block}]")
    for action in ("apply", "diff"):
        code, shown, told = await command(["rules", action, str(file)])
        assert (1, "", 2) == (code, shown, len(told.splitlines()))
        assert f"{file}: rules[0].limit_usd: must not be negative" in told.splitlines()


async def test_apply_may_demand_the_revision_that_was_compared(command: Command, file: Path) -> None:
    """So that a pipeline applies what was reviewed."""
    await command(["rules", "apply", str(file)])
    code, _, told = await command(["rules", "apply", str(file), "--if-revision", "0"])
    assert (1, True) == (code, "precondition_failed" in told)
    assert 0 == (await command(["rules", "apply", str(file), "--if-revision", "1"]))[0]


async def test_a_push_token_is_enough_for_rule_files(command: Command, file: Path) -> None:
    """And for nothing else; a token to read applies nothing."""
    push = ("PUSH", PUSH_TOKEN)
    assert 0 == (await command(["rules", "apply", str(file)], push))[0]
    assert 0 == (await command(["rules", "export"], push))[0]
    code, _, told = await command(["adjust", "user-42", "--usd", "1", "--note", "x"], push)
    assert (1, True) == (code, "forbidden" in told)
    code, _, told = await command(["rules", "apply", str(file)], ("READ", READ_TOKEN))
    assert (1, True) == (code, "forbidden" in told)


async def test_the_trail_names_who_applied(command: Command, control: ControlPlane, file: Path) -> None:
    """And why."""
    await command(["rules", "apply", str(file), "--note", "ticket 7"])
    (entry,) = (await control.call("GET", "/api/v1/audit", token=READ_TOKEN)).document["items"]
    assert ("ann (write token)", "ticket 7", "import") == (entry["actor"], entry["note"], entry["kind"])


async def test_an_adjustment_is_done_once_an_id(command: Command) -> None:
    """A charge, a credit of it, and the same credit again."""
    code, shown, _ = await command(["adjust", "user-42", "--usd", "12.50", "--note", "a correction"])
    assert (0, True) == (code, "user-42: $12.50, request adjust-" in shown)
    credit = ["adjust", "user-42", "--usd", "-5", "--note", "goodwill", "--request-id", "refund-1"]
    first, again = await command(credit), await command(credit)
    assert ["user-42: -$5.00, request refund-1", "user-42: -$5.00 (it was done before), request refund-1"] == [
        told[1].splitlines()[0] for told in (first, again)
    ]
    assert "  day: $7.50 spent" in first[1]


async def test_an_impossible_credit_says_what_is_possible(command: Command) -> None:
    """Nothing was spent, so nothing can be given back."""
    code, _, told = await command(["adjust", "user-42", "--usd", "-5", "--note", "x"])
    assert (1, True) == (code, "at most 0.00" in told)


async def test_nobody_at_the_address_is_told_with_the_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The id with which the adjustment can be repeated."""
    words = ["adjust", "u", "--usd", "1", "--note", "x", "--request-id", "r-1", "--control-url", "http://127.0.0.1:1"]
    code = await asyncio.to_thread(main, words)
    told = capsys.readouterr().err
    assert (1, True, True) == (code, "no control plane answers" in told, "--request-id r-1" in told)
