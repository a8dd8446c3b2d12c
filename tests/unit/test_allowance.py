"""The local allowance: repeats, settles, failing disks, restarts, bounds. Never more than x: tests/property."""

import asyncio
import logging
import shutil
from pathlib import Path

import pytest

from ledger.operations import Admission
from ledger.plans import Plan, compile_plan
from ledger.rules import Policy, PolicyKind
from ledger.windows import WindowType
from sidecar import allowance_counts
from sidecar.allowance import Allowance
from sidecar.allowance_log import DIRECTORY_NAME, kept_allowance
from tests.support.allowances import MemoryLog, memory_allowance
from tests.support.ledger_under_test import NOON_MS, rules, template
from tests.support.operations import admission_of
from tests.support.patience import KEPT_WITHIN_S

X = 10
DAY_MS = 24 * 3600 * 1000


def plan(*, at_ms: int = NOON_MS, window: WindowType = WindowType.DAY, x: int = X) -> Plan:
    """Return a plan with one allowance."""
    rule = template("free", window=window, on_store_failure=Policy(PolicyKind.AMOUNT, x))
    return compile_plan(rules(rule), "anyone", "free", at_ms)


def call(nanos: int, request_id: str = "r", user_id: str = "ada", **terms: int) -> Admission:
    """Return a reserve under such a plan."""
    return admission_of(plan(**terms), user_id, request_id, nanos)  # type: ignore[arg-type]


def now() -> int:
    """Stand still."""
    return NOON_MS


async def left(allowance: Allowance, user_id: str = "ada") -> int:
    """Take what is left, nano-dollar by nano-dollar; return how much it was."""
    taken = 0
    while await allowance.take(call(1, f"left-{taken}", user_id)):
        taken += 1
    return taken


async def test_a_repeat_takes_nothing() -> None:
    """The same call is charged once, so it is let through once."""
    allowance = memory_allowance(now)
    assert [True] * 3 == [await allowance.take(call(8)) for _ in range(3)]
    assert 2 == await left(allowance)


async def test_a_repeat_with_another_amount_is_another_call() -> None:
    """Else a dear call would come through under the id of a cheap one."""
    allowance = memory_allowance(now)
    assert [True, False] == [await allowance.take(call(nanos)) for nanos in (8, 9)]


async def test_a_repeat_in_the_next_window_takes_from_it() -> None:
    """What was taken yesterday says nothing about today."""
    allowance = memory_allowance(now)
    assert await allowance.take(call(8, at_ms=NOON_MS - DAY_MS))
    assert await allowance.take(call(8))
    assert 2 == await left(allowance)


async def test_another_user_has_an_own_allowance() -> None:
    """It is for each user."""
    allowance = memory_allowance(now)
    assert [True, True] == [await allowance.take(call(X, user_id=user)) for user in ("ada", "eve")]


async def test_workers_share_an_allowance() -> None:
    """Each gives an equal part, rounded down, so that all together give no more than the allowance."""
    workers = [Allowance(now_ms=now, shares=3, kept_within_s=KEPT_WITHIN_S) for _ in range(3)]
    for worker in workers:
        worker.keep_in(MemoryLog())
    assert [3, 3, 3] == [await left(worker) for worker in workers]


async def test_an_allowance_of_nothing_lets_nothing_through() -> None:
    """Not even what costs nothing, as a limit of zero does not."""
    assert not await memory_allowance(now).take(call(0, x=0))


async def test_a_changed_allowance_holds_at_once() -> None:
    """What was taken counts against the new amount, whichever way it was changed."""
    allowance = memory_allowance(now)
    answers = [await allowance.take(call(1, str(number), x=x)) for number, x in enumerate((1, 2, 1, 3))]
    assert [True, True, False, True] == answers


@pytest.mark.parametrize(("actual", "expected"), [(3, 7), (0, 10), (8, 2), (9, 1), (20, 0)])
async def test_a_settle_puts_the_actual_in_the_place_of_the_estimate(actual: int, expected: int) -> None:
    """The rest is free at once; an actual above the estimate counts in full, also past the allowance."""
    allowance = memory_allowance(now)
    await allowance.take(call(8))
    allowance.settle("ada", "r", actual)
    assert expected == await left(allowance)


async def test_only_the_first_settle_of_a_known_call_counts() -> None:
    """It is final, and a call that took nothing gives nothing."""
    allowance = memory_allowance(now)
    await allowance.take(call(8))
    for request_id in ("r", "r", "unknown"):
        allowance.settle("ada", request_id, 7)
    assert 3 == await left(allowance)


async def test_entries_stand_in_the_log_in_the_order_of_what_happened() -> None:
    """A settle above its estimate must not be undone by an entry that was made before it; catches a direct write."""
    log = MemoryLog(is_instant=False)
    allowance = memory_allowance(now, log)
    first = asyncio.create_task(allowance.take(call(1, "first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    log.succeed()
    assert await first
    await asyncio.sleep(0)
    second = asyncio.create_task(allowance.take(call(1, "second")))
    await asyncio.sleep(0)
    allowance.settle("ada", "first", 6)
    await asyncio.sleep(0)
    log.succeed()
    assert await second
    again = memory_allowance(now)
    again.restore(log.kept)
    assert 3 == await left(again) == await left(allowance_of(log))


def allowance_of(log: MemoryLog) -> Allowance:
    """Return an allowance that starts on a log."""
    allowance = memory_allowance(now)
    allowance.restore(log.kept)
    return allowance


async def test_what_the_disk_does_not_keep_is_refused_and_not_taken() -> None:
    """A full disk lets nothing through; when it is well again everything is there, for repeats too."""
    log = MemoryLog(is_instant=False)
    allowance = memory_allowance(now, log)
    failing = asyncio.create_task(allowance.take(call(8)))
    repeat = asyncio.create_task(allowance.take(call(8)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    log.fail()
    assert [False, False] == [await failing, await repeat]
    log.is_instant = True
    assert await allowance.take(call(8))
    assert 2 == await left(allowance)


async def test_a_disk_that_hangs_keeps_nobody_waiting() -> None:
    """The caller is refused in time; what it took stays taken, for it may be on disk."""
    log = MemoryLog(is_instant=False)
    allowance = memory_allowance(now, log, kept_within_s=0.01)
    async with asyncio.timeout(KEPT_WITHIN_S):
        assert not await allowance.take(call(8))
    log.is_instant = True
    log.succeed()
    assert 2 == await left(allowance)


async def test_a_caller_who_leaves_leaves_it_taken() -> None:
    """Whether the answer was on its way nobody knows."""
    log = MemoryLog(is_instant=False)
    allowance = memory_allowance(now, log)
    leaving = asyncio.create_task(allowance.take(call(8)))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    log.is_instant = True
    log.succeed()
    assert 2 == await left(allowance)


async def test_without_a_log_everything_is_refused() -> None:
    """What cannot be kept would be given again after a restart."""
    assert not await Allowance(now_ms=now).take(call(1))


async def test_calls_that_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten: their repeats take again, which is too careful and never too much."""
    monkeypatch.setattr("sidecar.allowance.MAX_GRANTS", 3)
    allowance = memory_allowance(now)
    for name in ("1", "2", "3", "4", "4", "1"):
        assert await allowance.take(call(1, name))
    assert 5 == await left(allowance)


async def test_counts_are_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A user too many is refused, loudly but not once a call; those who are counted go on, and ended windows go."""
    monkeypatch.setattr(allowance_counts, "MAX_COUNTS", 2)
    times = [NOON_MS]
    allowance = memory_allowance(lambda: times[0])
    users = ("ada", "eve", "kim", "lea", "ada")
    assert [True, True, False, False, True] == [
        await allowance.take(call(1, str(number), user)) for number, user in enumerate(users)
    ]
    assert [logging.ERROR] == [record.levelno for record in caplog.records]
    times[0] += 3 * DAY_MS
    assert await allowance.take(call(1, "later", "kim", at_ms=times[0]))


async def test_a_clock_that_was_ahead_gives_nothing_back() -> None:
    """A day ahead and back again: the counts of today are still there."""
    times = [NOON_MS + DAY_MS]
    log = MemoryLog()
    allowance = memory_allowance(lambda: times[0], log)
    await allowance.take(call(8))
    again = memory_allowance(now)
    again.restore(list(allowance.checkpoint()))
    assert 2 == await left(again)


async def test_what_was_taken_is_told_once_it_is_kept() -> None:
    """Repeats and refusals are not counted."""
    told: list[int] = []
    allowance = Allowance(now_ms=now, on_taken=told.append, kept_within_s=KEPT_WITHIN_S)
    allowance.keep_in(MemoryLog())
    for nanos, name in ((8, "a"), (8, "a"), (8, "b"), (2, "c")):
        await allowance.take(call(nanos, name))
    await asyncio.sleep(0)
    assert [8, 2] == told


async def test_a_restart_finds_what_was_taken(tmp_path: Path) -> None:
    """On a real disk, over a stop, and over a crash that closes nothing."""
    before, after = tmp_path / "before", tmp_path / "after"
    async with kept_allowance(before, crashing := Allowance(now_ms=now, kept_within_s=KEPT_WITHIN_S)):
        assert await crashing.take(call(5, "first"))
        shutil.copytree(before, after)
    async with kept_allowance(after, second := Allowance(now_ms=now, kept_within_s=KEPT_WITHIN_S)):
        assert [True, False] == [await second.take(call(nanos, str(nanos))) for nanos in (3, 4)]
    async with kept_allowance(after, third := Allowance(now_ms=now, kept_within_s=KEPT_WITHIN_S)):
        assert 2 == await left(third)


async def test_two_processes_on_one_directory_keep_their_own_counts(tmp_path: Path) -> None:
    """Each is a sidecar; after a restart neither has given less than it had, whichever takes whose place."""
    async with (
        kept_allowance(tmp_path, first := Allowance(now_ms=now, kept_within_s=KEPT_WITHIN_S)),
        kept_allowance(tmp_path, second := Allowance(now_ms=now, kept_within_s=KEPT_WITHIN_S)),
    ):
        assert [True, True] == [await each.take(call(nanos)) for each, nanos in ((first, 8), (second, 5))]
    async with (
        kept_allowance(tmp_path, third := Allowance(now_ms=now, kept_within_s=KEPT_WITHIN_S)),
        kept_allowance(tmp_path, fourth := Allowance(now_ms=now, kept_within_s=KEPT_WITHIN_S)),
    ):
        assert [2, 5] == [await left(third), await left(fourth)]


async def test_a_log_that_cannot_be_read_refuses_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Starting anew from nothing would give every allowance a second time."""
    directory = tmp_path / DIRECTORY_NAME / "0"
    directory.mkdir(parents=True)
    name = f"{1:020d}-{7:08x}.log"
    (directory / name).mkdir()
    async with kept_allowance(tmp_path, allowance := Allowance(now_ms=now, kept_within_s=KEPT_WITHIN_S)):
        assert not await allowance.take(call(1))
    assert "cannot be read" in caplog.text
