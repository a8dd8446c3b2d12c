"""The rule cache: swaps, revisions, and when what is in force is kept on disk."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.errors import StaleRevision
from ledger.rule_changes import NOWHERE, RulePosition
from ledger.rules import EMPTY_RULE_SET, RuleSet
from sidecar import rule_cache
from sidecar.plan_cache import PlanCache
from sidecar.rule_cache import RuleCache
from sidecar.rule_copy import NUMBER_NAME, read_copy
from tests.support.rule_sets import rule_set_of

DEADLINE_S = 60.0

AT_41 = RulePosition("epoch", 41, "tip")


async def test_cache_starts_without_rules() -> None:
    """Before the first rule set nothing is in force, and the cache says so."""
    cache = RuleCache()

    assert (EMPTY_RULE_SET, False) == (cache.current, cache.is_loaded)


async def test_swap_puts_a_newer_revision_in_force() -> None:
    """The new rule set is what readers see."""
    cache = RuleCache()

    assert await cache.swap(rule_set_of(3, "free"))
    assert (rule_set_of(3, "free"), True) == (cache.current, cache.is_loaded)


async def test_older_revision_is_refused() -> None:
    """A push that was overtaken changes nothing."""
    cache = RuleCache(current=rule_set_of(3, "free"))

    with pytest.raises(StaleRevision, match="revision 2 is older than 3"):
        await cache.swap(rule_set_of(2, "pro"))
    assert rule_set_of(3, "free") == cache.current


async def test_same_revision_with_the_same_content_changes_nothing() -> None:
    """A repeated push is no change and tells no one."""
    cache, heard = RuleCache(current=rule_set_of(3, "free")), []
    cache.on_change(heard.append)

    assert not await cache.swap(rule_set_of(3, "free"))
    assert [] == heard


async def test_same_revision_with_other_content_is_refused() -> None:
    """One revision means one content."""
    cache = RuleCache(current=rule_set_of(3, "free"))

    with pytest.raises(StaleRevision, match="other content"):
        await cache.swap(rule_set_of(3, "pro"))


async def test_unstated_revision_is_the_next_one() -> None:
    """New content without a revision gets the next number."""
    cache = RuleCache(current=rule_set_of(3, "free"))

    assert await cache.swap(rule_set_of(0, "pro"))
    assert rule_set_of(4, "pro") == cache.current


async def test_unstated_revision_of_the_content_in_force_changes_nothing() -> None:
    """After a restart an unchanged file keeps the revision it had."""
    cache = RuleCache(current=rule_set_of(3, "free"))

    assert not await cache.swap(rule_set_of(0, "free"))
    assert 3 == cache.current.revision


async def test_first_rule_set_may_be_empty() -> None:
    """No rules are a rule set too: the first one is loaded, whatever it holds."""
    cache = RuleCache()

    assert await cache.swap(rule_set_of(0))
    assert (1, True) == (cache.current.revision, cache.is_loaded)


async def test_listeners_hear_of_a_change_when_it_is_in_force() -> None:
    """A listener sees the cache with the rule set it is told of."""
    cache, heard = RuleCache(), []
    cache.on_change(lambda rule_set: heard.append(rule_set is cache.current))

    await cache.swap(rule_set_of(1, "free"))

    assert [True] == heard


async def test_swaps_at_once_are_taken_one_after_the_other() -> None:
    """Of many pushes at once every change gets a revision of its own."""
    cache, heard = RuleCache(), []
    cache.on_change(lambda rule_set: heard.append(rule_set.revision))

    await asyncio.gather(*(cache.swap(rule_set_of(0, f"tier-{index}")) for index in range(10)))

    assert list(range(1, 11)) == heard


async def test_rules_that_are_kept_later_are_in_force_at_once(tmp_path: Path) -> None:
    """A start need not wait for the copy of its rules; a stop before `run` had its turn still keeps them."""
    cache = RuleCache(tmp_path)

    assert await cache.swap(rule_set_of(3, "free"), keep_later=True)
    assert (3, None) == (cache.current.revision, read_copy(tmp_path))
    await cache.keep_last()

    assert rule_set_of(3, "free") == (await RuleCache.load(tmp_path)).current


async def test_one_copy_is_written_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push while the rules of the start are kept waits for them: two writers of one file would spoil it."""
    started: list[int] = []
    may_end = threading.Event()

    def write(_directory: Path, rule_set: RuleSet, _position: RulePosition) -> None:
        started.append(rule_set.revision)
        may_end.wait(DEADLINE_S)

    monkeypatch.setattr(rule_cache, "write_copy", write)
    cache = RuleCache(tmp_path)
    await cache.swap(rule_set_of(3, "free"), keep_later=True)
    first = asyncio.create_task(cache.keep_last())
    async with asyncio.timeout(DEADLINE_S):
        while not started:  # noqa: ASYNC110 - a thread writes
            await asyncio.sleep(0)
    push = asyncio.create_task(cache.swap(rule_set_of(4, "pro")))
    async with asyncio.timeout(DEADLINE_S):
        while cache.current.revision != 4:  # noqa: ASYNC110 - that it is swapped is no event
            await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.to_thread(lambda: None)

    assert [3] == started
    may_end.set()
    await asyncio.gather(first, push)
    assert [3, 4] == started


async def test_a_storm_of_changes_is_written_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change is in force at once; the disk sees the first, and the newest when the sidecar stops."""
    written: list[int] = []
    monkeypatch.setattr(rule_cache, "write_copy", lambda _dir, rule_set, _position: written.append(rule_set.revision))
    cache = RuleCache(tmp_path)
    task = asyncio.create_task(cache.run())
    for revision in range(1, 101):
        await cache.follow(rule_set_of(revision, "free"), RulePosition("e", revision, "t"), shares_rules=True)
        await asyncio.to_thread(lambda: None)
        if revision == 1:
            async with asyncio.timeout(10):
                while not written:  # noqa: ASYNC110 - a thread writes
                    await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    await cache.keep_last()
    await cache.keep_last()

    assert [1, 100] == written


async def test_followed_rules_are_in_force_whatever_their_revision() -> None:
    """The store has the word: a lower revision of another epoch is taken, and told to listeners."""
    cache, heard = RuleCache(current=rule_set_of(50, "free"), position=RulePosition("old", 50, "x")), []
    cache.on_change(heard.append)

    await cache.follow(rule_set_of(41, "pro"), AT_41, shares_rules=False)

    assert (rule_set_of(41, "pro"), AT_41, [rule_set_of(41, "pro")]) == (cache.current, cache.position, heard)


async def test_a_store_without_rules_makes_a_cache_loaded() -> None:
    """Revision 0 of a store is a rule set: there are none."""
    cache = RuleCache()
    await cache.follow(EMPTY_RULE_SET, NOWHERE, shares_rules=True)

    assert cache.is_loaded


async def test_rules_of_a_push_are_taken_after_those_of_a_store() -> None:
    """Who changes the source begins with revisions of their own; catches pushes refused as stale for ever."""
    cache = RuleCache(current=rule_set_of(41, "free"), position=AT_41)

    assert await cache.swap(rule_set_of(1, "pro"))
    assert (rule_set_of(1, "pro"), NOWHERE) == (cache.current, cache.position)


async def test_a_set_in_force_is_not_held_by_the_plans_of_another() -> None:
    """Plans let go of old rules as soon as others are in force, or freeing them would stall a later decision."""
    cache, plans = RuleCache(current=rule_set_of(1, "free")), PlanCache()
    cache.on_change(plans.forget)
    plans.get(cache.current, "ada", "free", 1_767_225_600_000)

    await cache.follow(rule_set_of(2, "pro"), RulePosition("e", 2, "t"), shares_rules=False)

    assert (cache.current, {}) == (plans._rule_set, plans._plans)


async def test_a_copy_that_is_begun_ends_before_a_stop(tmp_path: Path) -> None:
    """No thread was free for it yet; catches rules that a restart does not know because its stop came too early."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    may_go_on = threading.Event()
    busy = asyncio.create_task(asyncio.to_thread(may_go_on.wait, DEADLINE_S))
    cache = RuleCache(tmp_path)
    keeping = asyncio.create_task(cache.run())
    await cache.follow(rule_set_of(41, "free"), AT_41, shares_rules=True)
    async with asyncio.timeout(DEADLINE_S):
        while cache._unkept.is_set():  # noqa: ASYNC110 - that it is cleared is no event
            await asyncio.sleep(0)

    keeping.cancel()
    stopping = asyncio.create_task(cache.keep_last())
    may_go_on.set()
    await asyncio.wait([keeping, stopping, busy])

    assert (True, None) == (keeping.cancelled(), stopping.exception())
    assert (rule_set_of(41, "free"), AT_41) == read_copy(tmp_path)


async def test_a_copy_that_the_disk_refused_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk does not keep rules from coming into force; when it has room again, they are kept."""
    monkeypatch.setattr(rule_cache, "RETRY_INTERVAL_S", 0.0)
    monkeypatch.setattr(rule_cache, "KEEP_PAUSE", 0)
    in_the_way = tmp_path / "data"
    in_the_way.write_text("")
    cache = RuleCache(in_the_way)

    assert await cache.swap(rule_set_of(1, "free"))
    assert (1, True, ["ERROR"]) == (
        cache.current.revision,
        cache.is_keeping_failed,
        [record.levelname for record in caplog.records],
    )
    in_the_way.unlink()
    keeping = asyncio.create_task(cache.run())
    async with asyncio.timeout(DEADLINE_S):
        while cache.is_keeping_failed:  # noqa: ASYNC110 - a thread writes
            await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait([keeping])

    assert (rule_set_of(1, "free"), NOWHERE) == read_copy(in_the_way)


async def test_a_number_is_given_once(tmp_path: Path) -> None:
    """The copy of revision 2 was not written before a crash; other rules are revision 3, for 2 stands in the log."""
    cache = RuleCache(tmp_path)
    await cache.swap(rule_set_of(0, "free"))
    await cache.swap(rule_set_of(0, "pro"), keep_later=True)

    again = await RuleCache.load(tmp_path)
    await again.swap(rule_set_of(0, "team"))

    assert (2, 3) == (cache.current.revision, again.current.revision)


@pytest.mark.parametrize("content", ["", "two", "2.5", "9" * 5000])
async def test_a_note_that_cannot_be_read_is_logged_and_ignored(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The copy still says which revision was in force."""
    await RuleCache(tmp_path).swap(rule_set_of(0, "free"))
    (tmp_path / NUMBER_NAME).write_text(content)

    cache = await RuleCache.load(tmp_path)
    await cache.swap(rule_set_of(0, "pro"))

    assert (2, ["ERROR"]) == (cache.current.revision, [record.levelname for record in caplog.records])
