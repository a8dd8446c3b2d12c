"""Invariant 10: what the store has lost comes back from the journals, whatever was left, in any order, once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
import redis.asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ledger.decisions import Operation
from ledger.operations import Admission, Resolution, sent_text
from ledger.places import Place
from ledger.restores import Restored
from ledger.windows import Window
from sidecar.journal import Journal
from sidecar.journal_files import journal_directories, open_journal
from sidecar.journal_report import replay_directory
from tests.conftest import server_binaries
from tests.property.scenarios import RULE_SETS
from tests.support.ledger_under_test import NOON_MS, Caller, LedgerUnderTest, nanos
from tests.support.patience import KEPT_WITHIN_S
from tests.support.redis_under_test import redis_under_test

USERS: Final = ("ann", "bob")
SIDECARS: Final = 2
ROUNDS: Final = 3
"""A release that was replayed before its reserve waits; a round after that of the reserve it is there."""
PLACE: Final = Place("first", 1)


@dataclass(frozen=True, slots=True)
class Step:
    """What an app asks one of the sidecars; the same number is the same call, whichever sidecar hears of it."""

    sidecar: int
    operation: Operation
    user: str
    number: int
    usd: int
    tier: str


@dataclass(frozen=True, slots=True)
class Loss:
    """How many steps the store still knows of, and in which order the journals of the sidecars are replayed."""

    survivors: int
    order: tuple[int, ...]


steps = st.lists(
    st.builds(
        Step,
        sidecar=st.integers(0, SIDECARS - 1),
        operation=st.sampled_from(
            (
                *(Operation.CHECK, Operation.RESERVE, Operation.RESERVE),
                *(Operation.SETTLE, Operation.SETTLE, Operation.RELEASE, Operation.RECORD),
            )
        ),
        user=st.sampled_from(USERS),
        number=st.integers(0, 4),
        usd=st.integers(0, 6),
        tier=st.sampled_from(("free", "pro")),
    ),
    min_size=1,
    max_size=25,
)
losses = st.builds(
    Loss, survivors=st.integers(0, 25), order=st.lists(st.integers(0, SIDECARS - 1), max_size=4).map(tuple)
)


def _settle_before_its_reserve() -> tuple[list[Step], Loss]:
    """Return a hold of one sidecar that the other settles and replays first, and then once more."""
    return (
        [
            Step(0, Operation.RESERVE, "ann", 0, 4, "free"),
            Step(1, Operation.SETTLE, "ann", 0, 3, "free"),
            Step(0, Operation.CHECK, "ann", 1, 2, "free"),
        ],
        Loss(0, (1, 0, 1)),
    )


def _made(caller: Caller, step: Step) -> Admission | Resolution:
    family = "hold" if step.operation in {Operation.RESERVE, Operation.SETTLE, Operation.RELEASE} else step.operation
    request_id = f"{family}-{step.number}"
    if step.operation in {Operation.CHECK, Operation.RESERVE}:
        return caller.admission(
            step.operation, step.usd, user_id=step.user, tier=step.tier, request_id=request_id, attempt="1"
        )
    amount = None if step.operation is Operation.RELEASE else nanos(step.usd)
    is_direct = step.operation is Operation.RECORD
    return Resolution(
        operation=step.operation,
        user_id=step.user,
        request_id=request_id,
        amount_nanos=amount,
        sent=sent_text(step.operation, step.tier if is_direct else None, "" if amount is None else str(amount), 0),
        plan=caller.plan(step.user, step.tier) if is_direct else None,
    )


async def _play(under_test: LedgerUnderTest, played: Sequence[Step], journals: Sequence[Journal] = ()) -> None:
    caller = Caller(under_test, RULE_SETS[0])
    for step in played:
        asked = _made(caller, step)
        if isinstance(asked, Admission):
            admitted = await under_test.ledger.admit([asked])
            if journals:
                journals[step.sidecar].note_admissions(0, PLACE, [asked], admitted)
        else:
            resolved = await under_test.ledger.resolve([asked])
            if journals:
                journals[step.sidecar].note_resolutions(0, PLACE, [asked], resolved)


async def _journaled(truth: LedgerUnderTest, directory: Path, played: Sequence[Step]) -> list[Path]:
    """Play where nothing is lost, with a journal for each sidecar; returns where these are."""
    caller = Caller(truth, RULE_SETS[0])
    async with contextlib.AsyncExitStack() as stack:
        journals = []
        for number in range(SIDECARS):
            opening = open_journal(
                directory / str(number),
                max_bytes=1 << 20,
                now_ms=lambda: NOON_MS,
                landing_ms=250,
                kept_within_s=KEPT_WITHIN_S,
            )
            journal = await stack.enter_async_context(opening)
            journal.replan = lambda user_id, tier, at_ms: caller.plan(user_id, tier, at_ms=at_ms)
            journals.append(journal)
        await _play(truth, played, journals)
    return [path for number in range(SIDECARS) for path in journal_directories(directory / str(number))]


async def _counted(under_test: LedgerUnderTest) -> dict[tuple[str, Window], tuple[int, int, int]]:
    caller = Caller(under_test, RULE_SETS[0])
    counted = {}
    for user in USERS:
        for entry in caller.plan(user, "free").counters:
            state = await under_test.book.counter(entry.window, user)
            counted[user, entry.window] = (state.spend_nanos, state.held_nanos, state.calls)
    return counted


async def _converges(truth: LedgerUnderTest, left: LedgerUnderTest, played: Sequence[Step], loss: Loss) -> None:
    with TemporaryDirectory() as name:
        journals = await _journaled(truth, Path(name), played)
        await _play(left, played[: loss.survivors])
        for number in loss.order:
            await replay_directory(journals[number], left.ledger)  # type: ignore[arg-type]
        for _ in range(ROUNDS):
            results = [await replay_directory(path, left.ledger) for path in journals]  # type: ignore[arg-type]
        expected = await _counted(truth)
        assert expected == await _counted(left)
        assert 0 == sum(results, Counter())[Restored.APPLIED], "a replay of what is there changes nothing"


@pytest.mark.parametrize("server", sorted(server_binaries()))
def test_journals_bring_back_what_was_spent(server: str, request: pytest.FixtureRequest) -> None:
    """Catches a replay that charges a known call again, be it admitted or told of, and one that minds the order."""
    with asyncio.Runner() as runner:
        client = redis.asyncio.Redis.from_url(request.getfixturevalue(f"{server}_url"))
        truth, left = (runner.run(redis_under_test(client)) for _ in range(2))

        async def anew(played: Sequence[Step], loss: Loss) -> None:
            await client.flushdb()
            for each in (truth, left):
                await each.set_time(NOON_MS)
            await _converges(truth, left, played, loss)

        @settings(
            max_examples=40,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @example(*_settle_before_its_reserve())
        @given(steps, losses)
        def converges(played: list[Step], loss: Loss) -> None:
            runner.run(anew(played, loss))

        try:
            converges()
        finally:
            runner.run(client.aclose())
