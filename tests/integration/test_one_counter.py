"""One user, many processes, many sidecars: one counter, exact to the cent."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from tests.support.apps import Answer, Call, ask_from_processes
from tests.support.books import Books, every_window, new_workspace, read_books
from tests.support.processes import SidecarProcess, running_sidecars, template, write_rules

PROCESSES: Final = 8
SIDECARS: Final = 4
OWN_CALLS: Final = 130
SHARED_CALLS: Final = 200
LIMIT_USD: Final = 10
LIMIT_NANOS: Final = 10_000_000_000
COST_USD: Final = 0.01
ADMITTED: Final = 1000


def _call(sidecar: SidecarProcess, request_id: str) -> Call:
    body = {"request_id": request_id, "user_id": "ada", "tier": "free", "cost_usd": COST_USD}
    return f"{sidecar.url}/v1/check", body


def _shares(sidecars: list[SidecarProcess]) -> Iterator[list[Call]]:
    """Yield the calls of each process: after each few of its own, one that every other process sends as well."""
    for process in range(PROCESSES):
        own = [f"own-{process}-{number}" for number in range(OWN_CALLS)]
        shared = [f"shared-{number}" for number in range(SHARED_CALLS)]
        mixed = chain.from_iterable(zip(own, shared, strict=False))
        request_ids = [*mixed, *shared[OWN_CALLS:]]
        yield [_call(sidecars[process % SIDECARS], request_id) for request_id in request_ids]


@dataclass(frozen=True, slots=True)
class Rush:
    """What all processes were answered, and what the store says afterwards."""

    answers: list[Answer]
    books: Books

    def first_admissions(self) -> list[str]:
        """Return the request ids of the admissions that were no replays."""
        documents = [answer.document for answer in self.answers]
        return [str(each["request_id"]) for each in documents if each["allowed"] and not each["replayed"]]


@pytest.fixture(scope="module")
def rush(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Rush:
    """Let all processes spend one user's daily budget of 1,000 checks at the same time, through all sidecars."""
    directory, workspace = tmp_path_factory.mktemp("rush"), new_workspace()
    rules = _rules(directory)
    with running_sidecars(
        SIDECARS,
        directory,
        store_url,
        rules,
        workspace=workspace,
    ) as sidecars:
        answers = list(chain.from_iterable(ask_from_processes(_shares(sidecars))))
    return Rush(answers, asyncio.run(read_books(store_url, workspace)))


def _rules(directory: Path) -> Path:
    return write_rules(directory / "rules.yaml", template("free", LIMIT_USD, window="day"))


def test_every_answer_is_the_ledgers(rush: Rush) -> None:
    """No call fails and none is degraded; catches a store or a lane that gives up under load."""
    assert [] == [answer for answer in rush.answers if not answer.is_exact]


def test_exactly_the_budget_is_admitted(rush: Rush) -> None:
    """1,000 cents fit into 10 dollars, whoever asks; catches a decision on a counter read before the script."""
    assert ADMITTED == len(set(rush.first_admissions()))


def test_each_request_id_is_admitted_once(rush: Rush) -> None:
    """An id that eight processes send at once is charged for one of them; catches a missing replay check."""
    assert [] == [name for name, count in Counter(rush.first_admissions()).items() if count > 1]


def test_every_repeat_of_an_admitted_id_is_a_replay(rush: Rush) -> None:
    """Whoever repeats an admitted id is told of the first admission; catches replays that are decided anew."""
    admitted = set(rush.first_admissions())
    allowed = [answer.document["request_id"] for answer in rush.answers if answer.document["allowed"]]

    assert {} == {name: count for name, count in Counter(allowed).items() if name not in admitted}
    assert len(allowed) > len(admitted)


def test_the_counters_hold_the_limit_exactly(rush: Rush) -> None:
    """Day, week and month hold 10 dollars to the nano; catches a window that is not counted or counted twice."""
    assert every_window(LIMIT_NANOS) == rush.books.spend("ada")


def test_the_tier_total_is_the_spend(rush: Rush) -> None:
    """The tier's totals are its one user's spend; catches totals that count replays or blocked calls."""
    assert every_window(LIMIT_NANOS) == rush.books.tier_spend("free")


def test_the_audit_finds_no_difference(rush: Rush) -> None:
    """The counters follow from 1,000 records; catches a charge without a record and a record without a charge."""
    report = rush.books.report

    assert (ADMITTED, LIMIT_NANOS, []) == (report.records, report.charged_nanos, report.differences)


def test_no_answer_shows_more_than_the_limit(rush: Rush) -> None:
    """No decision saw the counter beyond the limit; catches an over-admission that is corrected afterwards."""
    assert LIMIT_USD == max(answer.document["spend_usd"] for answer in rush.answers)
