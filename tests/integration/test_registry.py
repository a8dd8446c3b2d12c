"""The registry over a real store: what an operator changes, who is told of a conflict, and what the trail keeps."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.registry import Registry
from controlplane.rule_edits import creation
from controlplane.rule_errors import PlanRequired, PreconditionFailed, RuleExists, RuleNotFound
from ledger.connection import StoreTimeouts, connect
from ledger.errors import InvalidInput, RuleSetInvalid
from ledger.rule_book import EMPTY_BOOK
from ledger.rule_changes import ChangeKind, RuleEdit
from ledger.rule_store import RuleStore
from ledger.rules import RuleKind, WindowType
from tests.support.books import new_workspace
from tests.support.store_proxy import StoreProxy

TIMEOUTS = StoreTimeouts(connect_ms=10_000, command_ms=10_000)
TEMPLATE, OVERRIDE = RuleKind.TIER_TEMPLATE, RuleKind.USER_OVERRIDE
FREE = {"key": "free", "limit_usd": 5, "action": "block"}


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


@pytest.fixture
async def store(valkey_url: str, workspace: str) -> AsyncIterator[RuleStore]:
    """Return the rules of the workspace."""
    client = connect(valkey_url, TIMEOUTS)
    yield RuleStore(client, workspace=workspace)
    await client.aclose()


@pytest.fixture
def registry(store: RuleStore) -> Registry:
    """Return a registry without background; it sees the store when it writes."""
    return Registry(store)


async def test_a_created_rule_has_an_id_and_a_stamp(registry: Registry) -> None:
    """A new rule is in the book under an id of its own, with who made it and in which revision."""
    stored = await registry.create(FREE, kind=TEMPLATE, actor="ada")

    assert ("ada", 1, stored.created_at_ms) == (stored.updated_by, stored.revision, stored.updated_at_ms)
    assert stored == registry.book.entries[stored.rule.id]
    assert (stored.rule,) == registry.book.rule_set().templates["free"]


async def test_a_created_rule_is_in_the_store(registry: Registry, store: RuleStore) -> None:
    """What the registry shows is what another reads."""
    await registry.create(FREE, kind=TEMPLATE, actor="ada")

    assert await store.load() == registry.book


async def test_faults_of_a_rule_name_its_fields(registry: Registry) -> None:
    """Every fault is listed under the field as the operator sent it, and nothing is committed."""
    with pytest.raises(RuleSetInvalid) as caught:
        await registry.create({"key": "free", "limit_usd": -1, "action": "shout"}, kind=TEMPLATE, actor="ada")

    assert {"limit_usd", "action"} == {path for path, _ in caught.value.faults}
    assert 0 == registry.book.revision


async def test_a_rule_of_the_same_key_and_window_is_refused(registry: Registry) -> None:
    """One rule for each kind, key and window; the refusal carries the one that is there."""
    first = await registry.create(FREE, kind=TEMPLATE, actor="ada")

    with pytest.raises(RuleExists) as caught:
        await registry.create(FREE, kind=TEMPLATE, actor="bob")
    assert first == caught.value.current


async def test_the_same_key_may_have_another_window_and_another_kind(registry: Registry) -> None:
    """A tier may have a daily limit beside its monthly one, a user may be called as a tier is."""
    await registry.create(FREE, kind=TEMPLATE, actor="ada")
    await registry.create({**FREE, "window": "day"}, kind=TEMPLATE, actor="ada")
    await registry.create(FREE, kind=OVERRIDE, actor="ada")

    assert [WindowType.DAY, WindowType.MONTH] == [rule.window for rule in registry.book.rules.templates["free"]]


async def test_an_update_keeps_id_and_birth(registry: Registry) -> None:
    """A change makes a new revision of the same rule."""
    stored = await registry.create(FREE, kind=TEMPLATE, actor="ada")

    changed = await registry.update(
        stored.rule.id, {**FREE, "limit_usd": 9}, expected_rule_revision=1, actor="bob", note="more"
    )

    assert (stored.rule.id, 9_000_000_000, 2, "bob") == (
        changed.rule.id,
        changed.rule.limit_nanos,
        changed.revision,
        changed.updated_by,
    )
    assert stored.created_at_ms == changed.created_at_ms


async def test_an_update_without_a_difference_commits_nothing(registry: Registry) -> None:
    """Saving what is there makes no revision."""
    stored = await registry.create(FREE, kind=TEMPLATE, actor="ada")

    assert stored == await registry.update(stored.rule.id, FREE, expected_rule_revision=1, actor="bob")
    assert 1 == registry.book.revision


async def test_the_second_of_two_registries_is_told(registry: Registry, store: RuleStore) -> None:
    """Two operators edit one rule: the second is refused with the rule as the first left it."""
    stored = await registry.create(FREE, kind=TEMPLATE, actor="ada")
    other = Registry(store)
    await other.load()
    changed = await registry.update(stored.rule.id, {**FREE, "limit_usd": 9}, expected_rule_revision=1, actor="ada")

    with pytest.raises(PreconditionFailed) as caught:
        await other.update(stored.rule.id, {**FREE, "limit_usd": 7}, expected_rule_revision=1, actor="bob")
    assert (changed, 2) == (caught.value.current, caught.value.revision)


async def test_a_registry_behind_the_store_catches_up_to_write(registry: Registry, store: RuleStore) -> None:
    """Changes of other rules meanwhile are no conflict."""
    other = Registry(store)
    await other.load()
    stored = await registry.create(FREE, kind=TEMPLATE, actor="ada")

    await other.create({**FREE, "key": "pro"}, kind=TEMPLATE, actor="bob")
    await other.update(stored.rule.id, {**FREE, "limit_usd": 9}, expected_rule_revision=1, actor="bob")
    await other.delete(stored.rule.id, expected_rule_revision=3, actor="bob")

    assert await store.load() == other.book
    assert {"pro"} == set(other.book.rules.templates)


async def test_many_writers_lose_no_change(store: RuleStore) -> None:
    """Each of 60 rules that four registries create at once is there, each in a revision of its own."""
    registries = [Registry(store) for _ in range(4)]

    async def create(number: int) -> int:
        document = {**FREE, "key": f"user-{number}"}
        return (await registries[number % 4].create(document, kind=OVERRIDE, actor="ada")).revision

    async with asyncio.timeout(60):
        revisions = []
        for start in range(0, 60, 4):
            revisions += await asyncio.gather(*(create(number) for number in range(start, start + 4)))

    book = await store.load()
    assert list(range(1, 61)) == sorted(revisions)
    assert {f"user-{number}" for number in range(60)} == set(book.rules.overrides)


async def test_a_deleted_rule_is_not_found(registry: Registry) -> None:
    """Who edits what is gone is told so."""
    stored = await registry.create(FREE, kind=TEMPLATE, actor="ada")
    await registry.delete(stored.rule.id, expected_rule_revision=1, actor="ada")

    with pytest.raises(RuleNotFound):
        await registry.update(stored.rule.id, FREE, expected_rule_revision=1, actor="bob")


async def test_below_growth_rules_are_gated_and_settings_are_not(registry: Registry) -> None:
    """On plan free every rule write is refused; the plan itself may be changed back."""
    stored = await registry.create(FREE, kind=TEMPLATE, actor="ada")
    await registry.put_settings({"plan": "free"}, expected_revision=0, actor="ada")

    for write in (
        registry.create({**FREE, "key": "pro"}, kind=TEMPLATE, actor="ada"),
        registry.update(stored.rule.id, FREE, expected_rule_revision=1, actor="ada"),
        registry.delete(stored.rule.id, expected_rule_revision=1, actor="ada"),
        registry.import_document({"rules": []}, expected_revision=None, actor="ada"),
        registry.merge_overrides([FREE], expected_revision=None, actor="ada"),
        registry.restore(1, actor="ada"),
    ):
        with pytest.raises(PlanRequired):
            await write
    book = await registry.put_settings({"plan": "growth"}, expected_revision=2, actor="ada")

    assert (3, 3, "growth") == (book.revision, book.settings_revision, book.workspace.plan)


async def test_settings_of_another_revision_are_refused(registry: Registry) -> None:
    """Two operators change the settings: the second is told the revision they have."""
    await registry.put_settings({"mode": "observe"}, expected_revision=0, actor="ada")

    with pytest.raises(PreconditionFailed) as caught:
        await registry.put_settings({"mode": "stop"}, expected_revision=0, actor="bob")
    assert 1 == caught.value.revision


async def test_rules_follow_the_workspaces_zone_unless_they_name_their_own(
    registry: Registry, store: RuleStore
) -> None:
    """A new zone of the workspace moves the rules that name none; the book is what a reader makes of the store."""
    follows = await registry.create(FREE, kind=TEMPLATE, actor="ada")
    own = await registry.create({**FREE, "key": "pro", "timezone": "Asia/Tokyo"}, kind=TEMPLATE, actor="ada")
    twin = await registry.create({**FREE, "key": "max", "timezone": "Europe/Berlin"}, kind=TEMPLATE, actor="ada")

    zones = []
    for zone in ("Europe/Berlin", "UTC"):
        await registry.put_settings({"timezone": zone}, expected_revision=None, actor="ada")
        rules = [registry.book.entries[stored.rule.id].rule for stored in (follows, own, twin)]
        zones.append([rule.calendar.timezone for rule in rules])
        assert await store.load() == registry.book

    assert [["Europe/Berlin", "Asia/Tokyo", "Europe/Berlin"], ["UTC", "Asia/Tokyo", "UTC"]] == zones


async def test_an_import_is_the_whole_truth_and_keeps_ids(registry: Registry, store: RuleStore) -> None:
    """Rules that the document lacks are gone, those it has keep their id and what did not change its revision."""
    free = await registry.create(FREE, kind=TEMPLATE, actor="ada")
    pro = await registry.create({**FREE, "key": "pro"}, kind=TEMPLATE, actor="ada")
    await registry.create({**FREE, "key": "old"}, kind=TEMPLATE, actor="ada")
    document: dict[str, Any] = {
        "workspace": {"mode": "observe"},
        "rules": [
            {"kind": "tier_template", **FREE},
            {"kind": "tier_template", **FREE, "key": "pro", "limit_usd": 7},
            {"kind": "user_override", **FREE, "key": "eve"},
        ],
    }

    preview = await registry.preview_import(document)
    result = await registry.import_document(document, expected_revision=3, actor="ci", note="apply")

    assert (1, 1, 1, 1) == (result.added, result.changed, result.removed, result.unchanged)
    assert [1, 1, 1, 1] == [len(preview.added), len(preview.changed), len(preview.removed), preview.unchanged]
    assert (1, 4) == tuple(registry.book.entries[stored.rule.id].revision for stored in (free, pro))
    assert ("observe", 4) == (registry.book.workspace.mode, registry.book.settings_revision)
    assert await store.load() == registry.book


async def test_an_import_keeps_settings_and_prices_that_it_leaves_out(registry: Registry) -> None:
    """A document of rules only changes rules only."""
    prices = [{"model": "m", "input_usd_per_million": 1, "output_usd_per_million": 2}]
    await registry.import_document(
        {"workspace": {"timezone": "Asia/Tokyo"}, "prices": prices, "rules": []}, expected_revision=0, actor="ci"
    )
    before = registry.book

    await registry.import_document({"rules": [{"kind": "tier_template", **FREE}]}, expected_revision=1, actor="ci")

    assert (before.workspace, before.prices, 1) == (
        registry.book.workspace,
        registry.book.prices,
        len(registry.book.entries),
    )


async def test_an_import_onto_other_rules_is_refused(registry: Registry) -> None:
    """Who compared with revision 0 does not overwrite revision 1."""
    await registry.create(FREE, kind=TEMPLATE, actor="ada")

    with pytest.raises(PreconditionFailed):
        await registry.import_document({"rules": []}, expected_revision=0, actor="ci")


async def test_overrides_from_a_list_are_added_or_changed(registry: Registry) -> None:
    """A list names users and windows; what a row leaves out stays as it is."""
    eve = await registry.create({**FREE, "key": "eve", "note": "keep"}, kind=OVERRIDE, actor="ada")
    rows = [{"key": "eve", "limit_usd": 7}, {"key": "eve", "window": "daily", "limit_usd": 1}]

    preview = await registry.preview_overrides(rows)
    result = await registry.merge_overrides(rows, expected_revision=1, actor="ada")

    day, month = registry.book.rules.overrides["eve"]
    assert (1, 1, 0) == (len(preview.added), len(preview.changed), preview.unchanged)
    assert (1, 1, 0, 0) == (result.added, result.changed, result.removed, result.unchanged)
    assert (eve.rule.id, 7_000_000_000, "keep", "block") == (month.id, month.limit_nanos, month.note, month.action)
    assert (1_000_000_000, "warn") == (day.limit_nanos, day.action)


async def test_faults_of_a_list_name_the_row(registry: Registry) -> None:
    """A row that is wrong is named, a user given twice too; nothing is taken."""
    rows = [{"key": "eve", "limit_usd": 7}, {"key": "bob", "limit_usd": -1}, {"key": "eve", "limit_usd": 8}]

    with pytest.raises(RuleSetInvalid) as caught:
        await registry.merge_overrides(rows, expected_revision=None, actor="ada")
    assert {"rules[1].limit_usd", "rules[2]"} == {path for path, _ in caught.value.faults}


async def test_a_restore_brings_rules_and_settings_back(registry: Registry, store: RuleStore) -> None:
    """What was at a revision is there again under a new one, with the ids it had."""
    free = await registry.create(FREE, kind=TEMPLATE, actor="ada")
    before = registry.book
    await registry.update(free.rule.id, {**FREE, "limit_usd": 9}, expected_rule_revision=1, actor="ada")
    await registry.put_settings({"timezone": "Asia/Tokyo", "mode": "stop"}, expected_revision=0, actor="ada")
    await registry.delete(free.rule.id, expected_rule_revision=2, actor="ada")

    result = await registry.restore(1, actor="ada")

    assert (5, 1) == (result.revision, result.added)
    assert (before.rules.templates, before.workspace) == (registry.book.rules.templates, registry.book.workspace)
    assert await store.load() == registry.book


async def test_every_revision_can_be_seen_again(registry: Registry, store: RuleStore) -> None:
    """Undoing the trail gives each book exactly as it was, also across a replacement of the whole book."""
    books = [registry.book]
    registry.on_change(books.append)
    free = await registry.create(FREE, kind=TEMPLATE, actor="ada")
    await registry.put_settings({"timezone": "Asia/Tokyo"}, expected_revision=0, actor="ada")
    rows = [{"key": f"user-{number}", "limit_usd": 1} for number in range(1100)]
    await registry.merge_overrides(rows, expected_revision=None, actor="ada")
    await registry.delete(free.rule.id, expected_rule_revision=1, actor="ada")

    assert [True] * 5 == [await store.book_at(book.revision) == book for book in books]


async def test_a_revision_that_never_was_is_refused(registry: Registry) -> None:
    """The field is named."""
    with pytest.raises(InvalidInput, match="from 0 to 0") as caught:
        await registry.restore(7, actor="ada")
    assert "revision" == caught.value.field


async def test_the_trail_tells_who_when_what_and_why(registry: Registry) -> None:
    """An entry has actor, note, kind, and the documents before and after."""
    stored = await registry.create(FREE, kind=TEMPLATE, actor="ada", note="first")
    await registry.update(stored.rule.id, {**FREE, "limit_usd": 9}, expected_rule_revision=1, actor="bob", note="raise")

    newest, oldest = await registry.history()

    (delta,) = newest.deltas
    assert ("bob", "raise", ChangeKind.EDIT, 2) == (newest.actor, newest.note, newest.kind, newest.revision)
    assert ("5.00", "9.00") == ((delta.before or {})["limit_usd"], (delta.after or {})["limit_usd"])
    assert [oldest] == await registry.history(before_revision=2)


@pytest.mark.parametrize("field", ["actor", "note"])
async def test_actor_and_note_must_be_printable(registry: Registry, field: str) -> None:
    """What goes into the trail cannot break a log line."""
    words = {"actor": "ada", "note": "", field: "a\rb"}

    with pytest.raises(InvalidInput):
        await registry.create(FREE, kind=TEMPLATE, **words)


@pytest.mark.parametrize("overtaken", [False, True])
async def test_a_commit_whose_reply_is_lost_is_done_once(
    valkey_url: str, workspace: str, store: RuleStore, overtaken: bool
) -> None:
    """The repeat finds its own commit, also behind another one; catches a rule made twice and a false conflict."""
    lost = 0

    def lose_first_ok(reply: bytes) -> bytes | None:
        nonlocal lost
        if b"$2\r\nok" not in reply or lost:
            return reply
        lost += 1
        return b""

    proxy = StoreProxy(valkey_url)
    async with proxy.running():
        client = connect(proxy.url, TIMEOUTS)
        edit = RuleEdit(kind=ChangeKind.EDIT, actor="ada", deltas=creation(EMPTY_BOOK, "rule-1", FREE, TEMPLATE))
        cut_off = RuleStore(client, workspace=workspace)
        proxy.fate = lose_first_ok
        if overtaken:
            run = cut_off._commits._script.run
            cut_off._commits._script.run = _overtaken(run, store)  # type: ignore[method-assign]
        change = await cut_off.commit(edit, EMPTY_BOOK)
        await client.aclose()

    trail = await store.history()
    assert (1, 1 + overtaken) == (lost, len(trail))
    assert change == trail[-1]


def _overtaken(run: Any, store: RuleStore) -> Any:
    """Let another registry commit between a run whose reply was lost and its repeat."""
    runs = 0

    async def overtake(*arguments: Any) -> Any:
        nonlocal runs
        runs += 1
        if runs > 1:
            await Registry(store).create({**FREE, "key": "other"}, kind=TEMPLATE, actor="bob")
        return await run(*arguments)

    return overtake
