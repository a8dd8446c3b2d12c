"""The rule file: real files, real symlinks, and what becomes of faulty ones."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ledger.bulk_work import BULK_RULES
from ledger.errors import RuleSetInvalid
from ledger.rules import RuleSet
from sidecar.rule_cache import RuleCache
from sidecar.rule_file import RuleFile

DEADLINE_S = 60.0
ATTEMPT_S = 0.5
NEVER_S = 3600.0
OFTEN_S = 0.05
CONFIG = Path(__file__).parents[2] / "config"
OVERRIDE = {"kind": "user_override", "limit_usd": 5}
OWN_PRICES = "- {{model: m, input_usd_per_million: {rate}, output_usd_per_million: 0}}\n"


def budgets(*keys: str, head: str = "") -> str:
    """Return the text of a rule file with a template for each key."""
    rules = "".join(f"  - {{kind: tier_template, key: {key}, limit_usd: 5}}\n" for key in keys)
    return f"{head}rules:\n{rules}"


def keys_of(rule_set: RuleSet) -> list[str]:
    """Return the keys of the rules."""
    return [rule.key for rule in rule_set.rules]


@contextlib.asynccontextmanager
async def watching(rule_file: RuleFile) -> AsyncIterator[None]:
    """Follow the file meanwhile."""
    task = asyncio.create_task(rule_file.watch())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(event: asyncio.Event, change: Callable[[], object]) -> None:
    """Make a change, again and again in case nobody watched yet, until the event is there."""
    async with asyncio.timeout(DEADLINE_S):
        while not event.is_set():
            change()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), ATTEMPT_S)


def heard(cache: RuleCache) -> asyncio.Event:
    """Return an event that tells of the next rule set in force."""
    event = asyncio.Event()
    cache.on_change(lambda _: event.set())
    return event


def replace_file(path: Path, text: str) -> None:
    """Write beside and rename over, as editors and deployments do."""
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


async def test_file_is_in_force_after_the_start(tmp_path: Path) -> None:
    """The first content of a file is revision 1."""
    path, cache = tmp_path / "budgets.yaml", RuleCache()
    path.write_text(budgets("free", "pro"))

    await RuleFile(path, cache).load()

    assert (1, ["free", "pro"]) == (cache.current.revision, keys_of(cache.current))


async def test_file_named_json_is_read_as_json(tmp_path: Path) -> None:
    """Large rule sets are faster to read as JSON."""
    path, cache = tmp_path / "budgets.json", RuleCache()
    path.write_text('{"revision": 9, "rules": []}')

    await RuleFile(path, cache).load()

    assert 9 == cache.current.revision


async def test_stated_revision_of_a_file_is_kept(tmp_path: Path) -> None:
    """A file may count its own revisions."""
    path, cache = tmp_path / "budgets.yaml", RuleCache()
    path.write_text(budgets("free", head="revision: 41\n"))

    await RuleFile(path, cache).load()

    assert 41 == cache.current.revision


async def test_unchanged_file_keeps_its_revision_after_a_restart(tmp_path: Path) -> None:
    """Revisions count changes, not starts."""
    path, data_dir = tmp_path / "budgets.yaml", tmp_path / "data"
    path.write_text(budgets("free"))
    await RuleFile(path, RuleCache(data_dir)).load()

    cache = await RuleCache.load(data_dir)
    await RuleFile(path, cache).load()

    assert 1 == cache.current.revision


async def test_file_changed_while_nobody_watched_is_the_next_revision(tmp_path: Path) -> None:
    """A change between two starts is a change."""
    path, data_dir = tmp_path / "budgets.yaml", tmp_path / "data"
    path.write_text(budgets("free"))
    await RuleFile(path, RuleCache(data_dir)).load()
    path.write_text(budgets("pro"))

    cache = await RuleCache.load(data_dir)
    await RuleFile(path, cache).load()

    assert (2, ["pro"]) == (cache.current.revision, keys_of(cache.current))


async def test_very_many_rules_of_a_start_are_kept_after_it(tmp_path: Path) -> None:
    """Who waits for a start waits for the rules, not for their copy; a stop before its turn still keeps them."""
    path, data_dir = tmp_path / "budgets.json", tmp_path / "data"
    path.write_text(json.dumps({"rules": [{**OVERRIDE, "key": f"user-{number}"} for number in range(BULK_RULES)]}))
    cache = await RuleCache.load(data_dir)

    await RuleFile(path, cache).load()
    before = (await RuleCache.load(data_dir)).is_loaded
    await cache.keep_last()

    assert (1, BULK_RULES, False) == (cache.current.revision, cache.current.count, before)
    assert cache.current == (await RuleCache.load(data_dir)).current


@pytest.mark.parametrize("text", [None, "", "rules: [}", budgets("''")])
async def test_start_with_a_faulty_file_and_nothing_kept_fails(tmp_path: Path, text: str | None) -> None:
    """Without any rules to go on with the faults are told and the start fails."""
    path = tmp_path / "budgets.yaml"
    if text is not None:
        path.write_text(text)

    with pytest.raises(RuleSetInvalid):
        await RuleFile(path, RuleCache()).load()


@pytest.mark.parametrize("text", [None, "rules: [}", budgets("stale", head="revision: 2\n")])
async def test_start_with_a_faulty_file_goes_on_with_the_kept_rules(
    tmp_path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A faulty, missing or outdated file does not stop enforcement, and is told loudly."""
    path, data_dir, rejected = tmp_path / "budgets.yaml", tmp_path / "data", []
    path.write_text(budgets("free", head="revision: 3\n"))
    await RuleFile(path, RuleCache(data_dir)).load()
    path.unlink()
    if text is not None:
        path.write_text(text)

    cache = await RuleCache.load(data_dir)
    await RuleFile(path, cache, on_reject=lambda: rejected.append(True)).load()

    assert (3, ["free"], [True]) == (cache.current.revision, keys_of(cache.current), rejected)
    assert ["revision 3 stays in force" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("write", [replace_file, Path.write_text])
async def test_changed_file_comes_into_force(tmp_path: Path, write: Callable[[Path, str], object]) -> None:
    """A file is followed, whether it is replaced or written over."""
    path, cache = tmp_path / "budgets.yaml", RuleCache()
    path.write_text(budgets("free"))
    rule_file = RuleFile(path, cache, poll_interval_s=NEVER_S)
    await rule_file.load()
    changed = heard(cache)

    async with watching(rule_file):
        await until(changed, lambda: write(path, budgets("pro")))

    assert (2, ["pro"]) == (cache.current.revision, keys_of(cache.current))


async def test_config_map_swap_comes_into_force(tmp_path: Path) -> None:
    """Kubernetes swaps the symlink `..data` to a new directory; the file's own symlink never changes."""
    path, cache = tmp_path / "budgets.yaml", RuleCache()
    for name, key in (("..1", "free"), ("..2", "pro")):
        (tmp_path / name).mkdir()
        (tmp_path / name / path.name).write_text(budgets(key))
    (tmp_path / "..data").symlink_to("..1")
    path.symlink_to(Path("..data") / path.name)
    rule_file = RuleFile(path, cache, poll_interval_s=NEVER_S)
    await rule_file.load()
    changed = heard(cache)

    def swap() -> None:
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    async with watching(rule_file):
        await until(changed, swap)

    assert (2, ["pro"]) == (cache.current.revision, keys_of(cache.current))


async def test_change_that_raises_no_event_is_found_by_looking(tmp_path: Path) -> None:
    """A file behind a symlink to elsewhere changes unseen by the watched directory."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "elsewhere").mkdir()
    path, target, cache = tmp_path / "etc" / "budgets.yaml", tmp_path / "elsewhere" / "budgets.yaml", RuleCache()
    target.write_text(budgets("free"))
    path.symlink_to(target)
    rule_file = RuleFile(path, cache, poll_interval_s=OFTEN_S)
    await rule_file.load()
    changed = heard(cache)

    async with watching(rule_file):
        await until(changed, lambda: replace_file(target, budgets("pro")))

    assert ["pro"] == keys_of(cache.current)


async def test_watch_survives_the_loss_of_its_directory(tmp_path: Path) -> None:
    """A directory that is gone and comes back is looked into again."""
    path, cache = tmp_path / "etc" / "budgets.yaml", RuleCache()
    path.parent.mkdir()
    path.write_text(budgets("free"))
    lost = asyncio.Event()
    rule_file = RuleFile(path, cache, on_reject=lost.set, poll_interval_s=OFTEN_S)
    await rule_file.load()
    path.parent.rename(tmp_path / "gone")

    async with watching(rule_file):
        await until(lost, lambda: None)
        (tmp_path / "gone").rename(path.parent)
        await until(heard(cache), lambda: replace_file(path, budgets("pro")))

    assert ["pro"] == keys_of(cache.current)


async def test_faulty_change_is_refused_with_every_fault_and_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rules before stay in force, and looking again at the same faulty content says nothing new."""
    path, cache, rejections = tmp_path / "budgets.yaml", RuleCache(), []
    path.write_text(budgets("free"))
    refused = asyncio.Event()

    def count() -> None:
        rejections.append(True)
        refused.set()

    rule_file = RuleFile(path, cache, on_reject=count, poll_interval_s=OFTEN_S)
    await rule_file.load()

    async with watching(rule_file):
        await until(refused, lambda: replace_file(path, "rules: [{kind: nobody, key: free}]"))
        await until(heard(cache), lambda: replace_file(path, budgets("pro")))

    assert (2, ["pro"], [True]) == (cache.current.revision, keys_of(cache.current), rejections)
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert 1 == len(errors)
    assert "rules[0].kind" in errors[0]
    assert "rules[0].limit_usd" in errors[0]


async def test_file_that_goes_back_is_a_change_too(tmp_path: Path) -> None:
    """The content before a fault may come again, and is what was in force all the time."""
    path, cache = tmp_path / "budgets.yaml", RuleCache()
    path.write_text(budgets("free"))
    rule_file = RuleFile(path, cache)
    await rule_file.load()
    path.write_text("rules:")
    await rule_file.load()
    path.write_text(budgets("free"))
    await rule_file.load()

    assert 1 == cache.current.revision


async def test_example_is_a_valid_rule_file() -> None:
    """What newcomers copy must work, with the prices of all known models beside it."""
    cache = RuleCache()

    await RuleFile(CONFIG / "budgets.example.yaml", cache, prices=CONFIG / "prices.json").load()

    assert 9 == len(cache.current.rules)
    assert cache.current.prices.find(None, "gpt-4o") is not None


async def test_prices_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    """Either file is followed, and a change of one leaves what the other says."""
    path, prices, cache = tmp_path / "budgets.yaml", tmp_path / "prices" / "prices.yaml", RuleCache()
    prices.parent.mkdir()
    path.write_text(budgets("free"))
    prices.write_text(OWN_PRICES.format(rate=1))
    rule_file = RuleFile(path, cache, prices=prices, poll_interval_s=NEVER_S)
    await rule_file.load()
    assert (1, 1, 1) == (cache.current.revision, len(cache.current.rules), cache.current.prices.count)
    version = cache.current.prices.version

    async with watching(rule_file):
        await until(heard(cache), lambda: replace_file(prices, OWN_PRICES.format(rate=2)))
        assert (2, ["free"]) == (cache.current.revision, keys_of(cache.current))
        assert version != cache.current.prices.version
        await until(heard(cache), lambda: replace_file(path, budgets("free", "pro")))
        assert (3, 1) == (cache.current.revision, cache.current.prices.count)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- {model: m}", r"prices\[0\]\.input_usd_per_million: is required"),
        (None, "prices: cannot be read"),
        ("{", "document: is no YAML"),
    ],
)
async def test_faulty_prices_of_their_own_are_refused(tmp_path: Path, text: str | None, fault: str) -> None:
    """With the rules beside them: both or nothing."""
    path, prices, cache = tmp_path / "budgets.yaml", tmp_path / "prices.yaml", RuleCache()
    path.write_text(budgets("free"))
    if text is not None:
        prices.write_text(text)

    with pytest.raises(RuleSetInvalid, match=fault):
        await RuleFile(path, cache, prices=prices).load()
    assert not cache.is_loaded


async def test_prices_in_both_files_are_refused(tmp_path: Path) -> None:
    """Nobody knows which of them count."""
    path, prices = tmp_path / "budgets.yaml", tmp_path / "prices.yaml"
    prices.write_text(OWN_PRICES.format(rate=1))
    path.write_text(f"rules: []\nprices:\n  {OWN_PRICES.format(rate=1)}")

    with pytest.raises(RuleSetInvalid, match="prices: stand here and in"):
        await RuleFile(path, RuleCache(), prices=prices).load()
