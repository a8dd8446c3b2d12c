"""The rule cache: swaps, revisions, the copy on disk, and loading beside an event loop."""

import asyncio
import gc
import json
import stat
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from ledger.bulk_work import BULK_RULES, SWITCH_INTERVAL_S, bulk_work, free_rule_set
from ledger.errors import RuleSetInvalid, StaleRevision
from ledger.rule_changes import NOWHERE, RulePosition
from ledger.rule_parsing import parse_rule_set
from ledger.rules import EMPTY_RULE_SET, RuleSet
from sidecar import rule_cache, rule_copy, rule_loading
from sidecar.plan_cache import PlanCache
from sidecar.rule_cache import RuleCache
from sidecar.rule_copy import read_copy, write_copy
from sidecar.rule_loading import DocumentFormat, decode_document, load_rule_set

RULE = {"kind": "tier_template", "key": "free", "limit_usd": 5}


class Note(str):
    """Text that can be watched for its end."""


def rule_set_of(revision: int, *keys: str) -> RuleSet:
    """Return a rule set with a template for each key."""
    return parse_rule_set({"rules": [{**RULE, "key": key} for key in keys]}, revision=revision)


def large_document(count: int) -> dict[str, object]:
    """Return a document with so many overrides."""
    return {
        "revision": 1,
        "rules": [{"kind": "user_override", "key": f"user-{i}", "limit_usd": 5} for i in range(count)],
    }


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


async def test_rule_set_in_force_is_kept_on_disk(tmp_path: Path) -> None:
    """The next start has the same rules under the same revision."""
    await RuleCache(tmp_path / "data").swap(rule_set_of(3, "free", "*"))

    assert rule_set_of(3, "free", "*") == (await RuleCache.load(tmp_path / "data")).current


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
        may_end.wait(60)

    monkeypatch.setattr(rule_cache, "write_copy", write)
    cache = RuleCache(tmp_path)
    await cache.swap(rule_set_of(3, "free"), keep_later=True)
    first = asyncio.create_task(cache.keep_last())
    push = asyncio.create_task(cache.swap(rule_set_of(4, "pro")))
    async with asyncio.timeout(60):
        while cache.current.revision != 4 or not started:  # noqa: ASYNC110 - a thread writes
            await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.to_thread(lambda: None)

    assert [3] == started
    may_end.set()
    await asyncio.gather(first, push)
    assert [3, 4] == started


async def test_start_without_a_copy_has_no_rules(tmp_path: Path) -> None:
    """A first start is no fault."""
    assert not (await RuleCache.load(tmp_path)).is_loaded


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"rules": []}', b'{"revision": 1, "rules": [{}]}', b'{"revision": 1, "rules"'],
)
async def test_corrupt_copy_is_logged_and_ignored(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy that cannot be used is as good as none, and someone is told."""
    (tmp_path / rule_copy.COPY_NAME).write_bytes(content)

    cache = await RuleCache.load(tmp_path)

    assert not cache.is_loaded
    assert ["ERROR"] == [record.levelname for record in caplog.records]


async def test_copy_that_cannot_be_written_is_told_and_the_rules_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full or broken disk does not keep rules from coming into force."""
    (tmp_path / "file").write_text("in the way")
    failures: list[bool] = []
    cache = RuleCache(tmp_path / "file" / "data", on_keep_failed=lambda: failures.append(True))

    assert await cache.swap(rule_set_of(1, "free"))
    assert (1, [True], ["ERROR"]) == (cache.current.revision, failures, [record.levelname for record in caplog.records])


def test_copy_is_for_its_owner_only(tmp_path: Path) -> None:
    """User ids are nobody else's business."""
    write_copy(tmp_path, rule_set_of(1, "free"))

    assert 0o600 == stat.S_IMODE((tmp_path / rule_copy.COPY_NAME).stat().st_mode)
    assert [rule_copy.COPY_NAME] == [path.name for path in tmp_path.iterdir()]


def test_copy_of_a_write_that_broke_off_is_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is replaced only when the new one is whole and on disk."""
    write_copy(tmp_path, rule_set_of(1, "free"))

    def fail(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(rule_copy.os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_copy(tmp_path, rule_set_of(2, "pro"))

    assert (rule_set_of(1, "free"), NOWHERE) == read_copy(tmp_path)


def test_large_copy_reads_back(tmp_path: Path) -> None:
    """A copy that is written in several pieces is one document."""
    rule_set = parse_rule_set(large_document(rule_copy.RULES_A_WRITE * 2 + 1), revision=1)

    write_copy(tmp_path, rule_set)

    assert (rule_set, NOWHERE) == read_copy(tmp_path)


@pytest.mark.parametrize("count", [10, 10_000])
@pytest.mark.parametrize("document_format", list(DocumentFormat))
async def test_every_format_gives_the_same_rules(document_format: DocumentFormat, count: int) -> None:
    """JSON, YAML and MessagePack mean the same, in small documents and in large ones."""
    document = large_document(count)
    body = msgpack.packb(document) if document_format is DocumentFormat.MSGPACK else json.dumps(document).encode()

    assert parse_rule_set(document, revision=1) == await load_rule_set(body, document_format)


@pytest.mark.parametrize(
    ("document_format", "body"),
    [
        (DocumentFormat.JSON, b"{"),
        (DocumentFormat.JSON, b"\xff"),
        (DocumentFormat.JSON, b'{"rules": [], "rules": []}'),
        (DocumentFormat.JSON, b"[" * 100_000),
        (DocumentFormat.YAML, b"rules: [}"),
        (DocumentFormat.YAML, b"rules: []\nrules: []\n"),
        (DocumentFormat.YAML, b"rules: !!python/object/apply:os.getcwd []"),
        (DocumentFormat.YAML, b"a: 1\n---\na: 2\n"),
        (DocumentFormat.YAML, b"? [1]\n: 2\n"),
        (DocumentFormat.YAML, b"\xff\xfe\xff"),
        (DocumentFormat.MSGPACK, b""),
        (DocumentFormat.MSGPACK, b"\x81"),
        (DocumentFormat.MSGPACK, b"\x80\x80"),
        (DocumentFormat.MSGPACK, b"\x82\xa1a\x01\xa1a\x02"),
        (DocumentFormat.MSGPACK, b"\xc1"),
    ],
)
def test_what_is_no_document_is_refused(document_format: DocumentFormat, body: bytes) -> None:
    """Broken text and keys given twice are faults of the document."""
    with pytest.raises(RuleSetInvalid) as caught:
        decode_document(body, document_format)

    assert ["document"] == [path for path, _ in caught.value.faults]


def test_fault_of_large_yaml_is_told_as_of_small() -> None:
    """The process that reads large YAML hands its complaint back."""
    body = b"rules: []\nrules: []\n" + b"# filler\n" * (rule_loading.BULK_BYTES // 8)

    with pytest.raises(RuleSetInvalid, match="the key 'rules' is given twice"):
        decode_document(body, DocumentFormat.YAML)


def test_expiry_of_large_yaml_is_a_moment() -> None:
    """Times that YAML recognises pass on as text."""
    rule = b"rules: [{kind: user_override, key: u, limit_usd: 1, expires_at: 2026-01-01T01:00:00+01:00}]\n"
    body = rule + b"# filler\n" * (rule_loading.BULK_BYTES // 8)

    assert [1_767_225_600_000] == [
        entry.expires_at_ms for entry in rule_loading.read_rule_set(body, DocumentFormat.YAML).rules
    ]


def test_yaml_may_use_anchors_and_merges() -> None:
    """A key that overrides a merged one is not given twice."""
    body = b"base: &base {limit_usd: 1, window: day}\nrules: [{<<: *base, window: week}]\n"

    assert {
        "base": {"limit_usd": 1, "window": "day"},
        "rules": [{"limit_usd": 1, "window": "week"}],
    } == decode_document(body, DocumentFormat.YAML)


def test_bulk_work_leaves_the_interpreter_as_it_was() -> None:
    """Also after an error collections are on again and threads switch as before."""
    before = (gc.isenabled(), sys.getswitchinterval())

    with pytest.raises(ZeroDivisionError), bulk_work():
        divmod(1, 0)

    assert before == (gc.isenabled(), sys.getswitchinterval())


def test_bulk_work_is_done_without_collections_and_with_quick_switches() -> None:
    """Meanwhile no collection walks the fresh objects, and no thread waits long for another."""
    with bulk_work():
        during = (gc.isenabled(), sys.getswitchinterval())

    assert (False, pytest.approx(SWITCH_INTERVAL_S)) == during


@pytest.mark.parametrize("count", [1, BULK_RULES])
def test_freeing_leaves_nothing_of_a_rule_set(count: int) -> None:
    """The list owned the last references; rules in no other hands are gone."""
    note = Note("kept by its rule only")
    rule_set = parse_rule_set(large_document(count), revision=1)
    rules = (*rule_set.rules[1:], replace(rule_set.rules[0], note=note))
    owned = [RuleSet.of(revision=1, workspace=rule_set.workspace, rules=rules)]
    seen = weakref.ref(note)
    del note, rules, rule_set

    free_rule_set(owned)

    assert ([], None) == (owned, seen())


AT_41 = RulePosition("epoch", 41, "tip")


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


async def test_followed_rules_are_kept_with_their_position(tmp_path: Path) -> None:
    """After a restart a sidecar knows where it stood, so that it needs only what it missed."""
    cache = RuleCache(tmp_path)
    await cache.follow(rule_set_of(41, "free"), AT_41, shares_rules=True)
    await cache.keep_last()

    kept = await RuleCache.load(tmp_path)
    assert (rule_set_of(41, "free"), AT_41) == (kept.current, kept.position)


async def test_a_kept_copy_is_json(tmp_path: Path) -> None:
    """Whoever looks at it with other tools can read it."""
    write_copy(tmp_path, rule_set_of(41, "free"), AT_41)

    document = json.loads((tmp_path / "rules.json").read_text())
    assert ({"epoch": "epoch", "tip": "tip"}, 41) == (document["store"], document["revision"])


@pytest.mark.parametrize("line", ['{"store":{},', '{"store":[1],', '{"store":{"epoch":1', '{"store":'])
def test_a_copy_whose_position_is_broken_is_ignored(tmp_path: Path, line: str) -> None:
    """Rules of an unknown position would be taken for another's."""
    write_copy(tmp_path, rule_set_of(41, "free"), AT_41)
    path = tmp_path / "rules.json"
    path.write_text(line + "\n" + path.read_text().partition("\n")[2])

    assert read_copy(tmp_path) is None


async def test_rules_of_a_push_are_taken_after_those_of_a_store() -> None:
    """Who changes the source begins with revisions of their own; catches pushes refused as stale for ever."""
    cache = RuleCache(current=rule_set_of(41, "free"), position=AT_41)

    assert await cache.swap(rule_set_of(1, "pro"))
    assert (rule_set_of(1, "pro"), NOWHERE) == (cache.current, cache.position)


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


async def test_a_set_in_force_is_not_held_by_the_plans_of_another() -> None:
    """Plans let go of old rules as soon as others are in force, or freeing them would stall a later decision."""
    cache, plans = RuleCache(current=rule_set_of(1, "free")), PlanCache()
    cache.on_change(plans.forget)
    plans.get(cache.current, "ada", "free", 1_767_225_600_000)

    await cache.follow(rule_set_of(2, "pro"), RulePosition("e", 2, "t"), shares_rules=False)

    assert (cache.current, {}) == (plans._rule_set, plans._plans)
