"""Rules reach a sidecar whatever happens on the way: gaps, replacements, lost stores, restarts, nonsense."""

import asyncio
import json
from pathlib import Path

import pytest

from ledger.rule_changes import NOWHERE
from tests.support.books import new_workspace
from tests.support.rule_delivery import delivery, eventually, following
from tests.support.stores import ALWAYS, store_process


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


async def test_a_change_is_followed_as_a_delta(valkey_url: str, workspace: str) -> None:
    """What the registry commits is in force in the sidecar, and what did not change is the same object as before."""
    async with delivery(valkey_url, workspace) as control, following(valkey_url, workspace) as cache:
        await control.add("free")
        await eventually(lambda: cache.current.revision == 1)
        (kept,) = cache.current.templates["free"]
        await control.add("pro")
        await eventually(lambda: cache.current.revision == 2)

        assert control.registry.book.rule_set() == cache.current
        assert kept is cache.current.templates["free"][0]


async def test_a_sidecar_without_any_rules_in_the_store_is_ready(valkey_url: str, workspace: str) -> None:
    """Before the first commit there are no rules, and that is known; catches a pod that waits for ever."""
    async with following(valkey_url, workspace) as cache:
        assert (True, 0, NOWHERE) == (cache.is_loaded, cache.current.revision, cache.position)


async def test_a_trimmed_stream_is_a_gap(valkey_url: str, workspace: str, tmp_path: Path) -> None:
    """A sidecar that was away while changes were dropped loads the book; catches changes applied over a gap."""
    async with delivery(valkey_url, workspace) as control:
        await control.add("free")
        async with following(valkey_url, workspace, tmp_path) as cache:
            assert 1 == cache.current.revision
        await control.add("pro")
        await control.add("max")
        await control.client.xtrim(control.keys.changes, maxlen=1, approximate=False)
        async with following(valkey_url, workspace, tmp_path) as cache:
            assert control.registry.book.rule_set() == cache.current


async def test_the_rest_of_the_trail_is_enough_after_a_restart(valkey_url: str, workspace: str, tmp_path: Path) -> None:
    """A sidecar that was away goes on with what it missed; catches a restart that loads everything."""
    async with delivery(valkey_url, workspace) as control:
        await control.add("free")
        async with following(valkey_url, workspace, tmp_path):
            pass
        await control.add("pro")
        await control.client.hset(control.keys.book, "nonsense", "{")
        async with following(valkey_url, workspace, tmp_path) as cache:
            assert control.registry.book.rule_set() == cache.current


async def test_a_replacement_is_loaded_in_pages(valkey_url: str, workspace: str) -> None:
    """3,000 overrides at once arrive whole, and a change behind them as well."""
    async with delivery(valkey_url, workspace) as control, following(valkey_url, workspace) as cache:
        await control.add("free")
        await control.add_overrides(3000)
        await control.add("pro")
        await eventually(lambda: cache.current.revision == 3)

        assert control.registry.book.rule_set() == cache.current


async def test_a_replacement_in_the_middle_of_a_load_is_no_mixture(
    valkey_url: str, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A book that is replaced between two pages is read anew; catches rules of two revisions in force together."""
    async with delivery(valkey_url, workspace) as control:
        await control.add_overrides(3000, limit_usd=1)
        pages = 0
        scan = control.client.hscan

        async def replaced_after_the_first_page(*arguments: object, **options: object) -> object:
            nonlocal pages
            page = await scan(*arguments, **options)
            pages += 1
            if pages == 1:
                async with delivery(valkey_url, workspace) as other:
                    await other.add_overrides(3000, limit_usd=2)
            return page

        monkeypatch.setattr(control.client, "hscan", replaced_after_the_first_page)
        book = await control.store.load()

    assert {2_000_000_000} == {stored.rule.limit_nanos for stored in book.entries.values()}
    assert (2, 3000) == (book.revision, len(book.entries))


async def test_changes_in_the_middle_of_a_load_are_not_lost(
    valkey_url: str, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that is changed, removed or added while pages are read is in the book as the last change left it."""
    async with delivery(valkey_url, workspace) as control:
        await control.add_overrides(3000)
        scan = control.client.hscan
        book = control.registry.book
        first, second, *_ = book.entries

        async def changed_before_each_page(*arguments: object, **options: object) -> object:
            async with delivery(valkey_url, workspace) as other:
                await other.registry.load()
                if first in other.registry.book.entries:
                    await other.registry.delete(first, expected_rule_revision=None, actor="bob")
                document = {"key": f"new-{other.registry.book.revision}", "limit_usd": 7}
                await other.registry.update(second, document, expected_rule_revision=None, actor="bob")
            return await scan(*arguments, **options)

        monkeypatch.setattr(control.client, "hscan", changed_before_each_page)
        loaded = await control.store.load()
        monkeypatch.undo()
        assert await control.store.load() == loaded
    assert (2999, False) == (len(loaded.entries), first in loaded.entries)


async def test_another_epoch_is_followed_whatever_its_revision(valkey_url: str, workspace: str) -> None:
    """A store that lost everything and was begun anew has the word; catches sidecars stuck on a higher revision."""
    async with delivery(valkey_url, workspace) as control, following(valkey_url, workspace) as cache:
        for key in ("free", "pro", "max"):
            await control.add(key)
        await eventually(lambda: cache.current.revision == 3)
        await control.client.delete(control.keys.head, control.keys.book, control.keys.changes)
        async with delivery(valkey_url, workspace) as other:
            await other.add("new")
            await eventually(lambda: cache.current.revision == 1)

            assert other.registry.book.rule_set() == cache.current


async def test_a_store_that_lost_the_rules_does_not_take_them_from_sidecars(
    valkey_url: str, workspace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without any commit the last good rules stay in force; catches a wiped store that lifts every limit."""
    async with delivery(valkey_url, workspace) as control, following(valkey_url, workspace) as cache:
        await control.add("free")
        await eventually(lambda: cache.current.revision == 1)
        rules = cache.current
        await control.client.delete(control.keys.head, control.keys.book, control.keys.changes)
        await control.registry.load()
        await eventually(lambda: "the store has lost the rules" in caplog.text or cache.current is not rules)

        assert (0, rules) == (control.registry.book.revision, cache.current)


async def test_a_store_that_went_back_in_time_is_followed(valkey_url: str, workspace: str) -> None:
    """The same revision reached by other commits is another book; catches a delta on what it was not made for."""
    async with delivery(valkey_url, workspace) as control, following(valkey_url, workspace) as cache:
        await control.add("free")
        head, book = [await control.client.hgetall(key) for key in (control.keys.head, control.keys.book)]
        await control.add("lost")
        await eventually(lambda: cache.current.revision == 2)
        # As a replica that had not seen the second commit leaves it.
        async with control.client.pipeline(transaction=True) as pipeline:
            pipeline.delete(control.keys.changes, control.keys.book)
            pipeline.hset(control.keys.head, mapping=head)
            pipeline.hset(control.keys.book, mapping=book)
            pipeline.execute_command("XADD", control.keys.changes, "1-0", "epoch", "x", "tip", "x", "parent", "x")
            await pipeline.execute()
        async with delivery(valkey_url, workspace) as other:
            await other.add("found")
            await other.add("more")
            await eventually(lambda: set(cache.current.templates) == {"free", "found", "more"})


async def test_rules_that_cannot_be_read_leave_the_good_ones_in_force(valkey_url: str, workspace: str) -> None:
    """Nonsense in the book is refused as a whole, the next good commit is followed; catches a follower that ends."""
    async with delivery(valkey_url, workspace) as control, following(valkey_url, workspace) as cache:
        await control.add("free")
        await eventually(lambda: cache.current.revision == 1)
        broken = {"rule": {"id": "x", "kind": "tier_template", "key": "x"}, "revision": 1}
        broken |= {"created_at_ms": 1, "updated_at_ms": 1, "updated_by": "x"}
        await control.client.hset(control.keys.book, "x", json.dumps(broken))
        await control.add_overrides(1100)
        await control.client.hset(control.keys.book, "y", json.dumps(broken))
        await asyncio.sleep(0)
        await control.client.hdel(control.keys.book, "x", "y")
        await control.add("pro")
        await eventually(lambda: "pro" in cache.current.templates)

        assert {"free", "pro"} == set(cache.current.templates)


async def test_a_change_that_cannot_be_read_is_gone_around(valkey_url: str, workspace: str) -> None:
    """An entry of a version to come is no dead end: the book is loaded; catches a follower that tries it for ever."""
    async with delivery(valkey_url, workspace) as control, following(valkey_url, workspace) as cache:
        await control.add("free")
        await eventually(lambda: cache.current.revision == 1)
        head = await control.client.hgetall(control.keys.head)
        entry = {"epoch": head[b"epoch"], "tip": "t", "parent": head[b"tip"], "kind": "merge", "body": "{}"}
        async with control.client.pipeline(transaction=True) as pipeline:
            pipeline.hset(control.keys.head, mapping={"revision": 2, "tip": "t"})
            pipeline.execute_command(
                "XADD", control.keys.changes, "2-0", *(part for pair in entry.items() for part in pair)
            )
            await pipeline.execute()
        await eventually(lambda: cache.current.revision == 2)
        await control.add("pro")
        await eventually(lambda: cache.current.revision == 3)

        assert control.registry.book.rule_set() == cache.current


async def test_a_change_of_a_thousand_rules_is_a_delta(valkey_url: str, workspace: str) -> None:
    """The largest change that is told rule by rule is applied so: what it did not touch is shared."""
    async with delivery(valkey_url, workspace) as control, following(valkey_url, workspace) as cache:
        await control.add("free")
        await eventually(lambda: cache.current.revision == 1)
        (kept,) = cache.current.templates["free"]
        await control.add_overrides(1000)
        await eventually(lambda: cache.current.revision == 2)

        assert (True, 1001) == (kept is cache.current.templates["free"][0], cache.current.count)
        assert control.registry.book.rule_set() == cache.current


async def test_a_store_that_is_killed_and_comes_back_is_followed_on(tmp_path: Path, workspace: str) -> None:
    """The connection that waits is lost with the store; catches a follower that waits on a dead one for ever."""
    with store_process(appendfsync=ALWAYS) as process:
        async with delivery(process.url, workspace) as control, following(process.url, workspace, tmp_path) as cache:
            await control.add("free")
            await eventually(lambda: cache.current.revision == 1)
            await asyncio.to_thread(process.kill)
            await asyncio.to_thread(process.start)
            await control.add("pro")
            await eventually(lambda: cache.current.revision == 2)

            assert {"free", "pro"} == set(cache.current.templates)


async def test_without_a_store_a_restart_has_the_kept_rules(tmp_path: Path, workspace: str) -> None:
    """The copy on disk serves until the store is back; then the sidecar converges by itself."""
    with store_process(appendfsync=ALWAYS) as process:
        async with delivery(process.url, workspace) as control:
            await control.add("free")
            async with following(process.url, workspace, tmp_path):
                pass
            await control.add("pro")
            await asyncio.to_thread(process.kill)
            async with following(process.url, workspace, tmp_path) as cache:
                assert ({"free"}, 1) == (set(cache.current.templates), cache.current.revision)
                await asyncio.to_thread(process.start)
                await eventually(lambda: cache.current.revision == 2)
