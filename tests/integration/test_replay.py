"""`spendgate replay` through two sidecars on one store: what it reports is what the ledger holds, to the nano."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from ledger.keys import PartitionKeys
from ledger.money import parse_usd
from tests.support.books import Books, new_workspace, read_books
from tests.support.processes import ROOT, SidecarProcess, running_sidecars, template, write_rules

TRACE: Final = ROOT / "config" / "demo-trace.csv"
CALLS: Final = 1500
IN_FLIGHT: Final = 64
REPLAY_DEADLINE_S: Final = 120.0
FREE_LIMIT_NANOS: Final = 300_000_000
# The estimate's tokens: more than any answer of the trace has, and fewer than most have.
AMPLE, SCANT = 4096, 64


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the command ended with and reported, and what the ledger says. Amounts are nano-USD."""

    code: int
    report: dict[str, Any]
    books: Books
    overruns: Counter[str]

    def free_users(self) -> dict[str, int]:
        """Return what each user of the blocked tier spent today."""
        users = {record.user_id for record in self.books.snapshot.records if _tier_of(record.tier_windows) == "free"}
        return {user: self.books.spend(user)["day"] for user in users}


def _tier_of(tier_windows: Sequence[tuple[object, str]]) -> str:
    return tier_windows[0][1]


def _replay(sidecars: Sequence[SidecarProcess], *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command flat out; returns its exit code and its report."""
    urls = ",".join(sidecar.url for sidecar in sidecars)
    command = [sys.executable, "-m", "cli.main", "replay", str(TRACE), "--url", urls, "--json-users"]
    done = subprocess.run(
        [*command, "--concurrency", str(IN_FLIGHT), "--users", "40", *options],
        cwd=ROOT,
        capture_output=True,
        timeout=REPLAY_DEADLINE_S,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def _overruns(store_url: str, workspace: str) -> Counter[str]:
    """Return by how much each user's settles were above their estimates, as the enforcement log tells."""
    with redis.Redis(unix_socket_path=store_url.removeprefix("unix://"), decode_responses=True) as client:
        entries: Any = client.xrange(PartitionKeys.of(workspace, 0).events)
    overruns: Counter[str] = Counter()
    for _, event in entries:
        if event["type"] == "overrun":
            overruns[event["user"]] += int(event["amount"])
    return overruns


def _rules(directory: Path) -> Path:
    return write_rules(
        directory / "rules.yaml",
        template("free", "0.3", window="day"),
        template("pro", "1.5", window="day", action="warn"),
        template("team", "0.25", action="dry_run"),
    )


@pytest.fixture(scope="module", params=[AMPLE, SCANT])
def replayed(request: pytest.FixtureRequest, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """Replay the demo's trace once with ample and once with scant estimates."""
    directory, workspace = tmp_path_factory.mktemp("replay"), new_workspace()
    with running_sidecars(2, directory, valkey_url, _rules(directory), workspace=workspace) as sidecars:
        code, report = _replay(sidecars, "--max-output", str(request.param))
    books = asyncio.run(read_books(valkey_url, workspace))
    return Replayed(code, report, books, _overruns(valkey_url, workspace))


def test_every_call_gets_a_decision(replayed: Replayed) -> None:
    """Nothing fails and the exit code is 0; catches sidecars that refuse or lose calls at 64 in flight."""
    assert (0, CALLS, 0) == (replayed.code, replayed.report["calls"], replayed.report["failed"])


def test_what_was_settled_is_what_is_charged(replayed: Replayed) -> None:
    """The report's sum is the sum of all records, user by user; catches a settle that is lost or charged twice."""
    settled = {user: parse_usd(text, field=user) for user, text in replayed.report["users"].items()}
    charged: Counter[str] = Counter()
    for record in replayed.books.snapshot.records:
        charged[record.user_id] += record.charged_nanos

    assert parse_usd(replayed.report["settled_usd"], field="settled_usd") == replayed.books.report.charged_nanos
    assert {user: nanos for user, nanos in charged.items() if nanos} == settled


def test_the_audit_is_clean_and_nothing_is_held(replayed: Replayed) -> None:
    """Counters follow from the records and no hold is left open; catches holds that leak."""
    report = replayed.books.report

    assert ([], 0, 0) == (report.differences, report.open_holds, report.held_nanos)


def test_no_blocked_user_is_past_the_limit_but_by_overruns(replayed: Replayed) -> None:
    """A free user's spend is the limit at most, plus actuals above their estimates; catches an over-admission."""
    spends = replayed.free_users()
    allowed = {user: FREE_LIMIT_NANOS + replayed.overruns[user] for user in spends}

    assert {} == {user: spend for user, spend in spends.items() if spend > allowed[user]}
    assert replayed.report["tiers"]["free"]["blocked"] > 0


@pytest.fixture
def twins(valkey_url: str, tmp_path: Path) -> Iterator[tuple[str, list[SidecarProcess]]]:
    """Run two sidecars that only warn; returns their workspace and them."""
    workspace = new_workspace()
    rules = write_rules(tmp_path / "rules.yaml", template("pro", 1, action="warn"))
    with running_sidecars(2, tmp_path, valkey_url, rules, workspace=workspace) as sidecars:
        yield workspace, sidecars


def test_a_repeated_replay_charges_nothing(twins: tuple[str, list[SidecarProcess]], valkey_url: str) -> None:
    """The same calls under the same ids, whichever sidecar they meet, are replays; catches ids kept by a sidecar."""
    workspace, sidecars = twins
    options = ("--tiers", "pro:1", "--run-id", "twice", "--limit", "301")
    first = _replay(sidecars, *options)
    spent = asyncio.run(read_books(valkey_url, workspace)).report
    second = _replay(sidecars[::-1], *options)
    spent_after = asyncio.run(read_books(valkey_url, workspace)).report

    assert (0, 0, first[1]["settled_usd"]) == (first[0], second[0], second[1]["settled_usd"])
    assert spent == spent_after
