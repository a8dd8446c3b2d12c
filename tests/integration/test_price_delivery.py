"""Price books on their way: put over HTTP or by the command line, stored beside the rules, followed by sidecars."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from cli.main import main
from ledger.errors import RuleSetInvalid
from ledger.rule_changes import MAX_PRICES_IN_TRAIL
from ledger.usage import Usage
from sidecar.rule_cache import RuleCache
from tests.support.control_plane import PUSH_TOKEN, READ_TOKEN, TOKENS, WRITE_TOKEN, ControlPlane, control_plane
from tests.support.prices import price_of
from tests.support.rule_delivery import delivery, eventually, following

PRICES: Final = "/api/v1/prices"
BOOK: Final = Path(__file__).parents[2] / "config" / "prices.json"
SMALL: Final[dict[str, Any]] = {"version": "small", "models": [price_of(input_usd_per_million=1)]}
LARGE: Final[dict[str, Any]] = {
    "version": "large",
    "models": [price_of(model=f"m-{number}", input_usd_per_million=2) for number in range(MAX_PRICES_IN_TRAIL + 1)],
}


@pytest_asyncio.fixture(loop_scope="function")
async def control(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane without rules and prices."""
    async with control_plane(valkey_url) as running:
        yield running


async def _put(control: ControlPlane, document: object, **headers: str) -> Any:
    answer = await control.call("PUT", PRICES, document, headers={"Content-Type": "application/json", **headers})
    assert 200 == answer.status, answer.body
    return answer.document


def _version(cache: RuleCache) -> str:
    return cache.current.prices.version


async def test_a_book_is_put_and_read(control: ControlPlane) -> None:
    """What was put is what is read, and the revision of the rules grows with it."""
    assert [] == (await control.call("GET", PRICES)).document

    done = await _put(control, {**SMALL, "built_at": "2031-01-31T00:00:00Z"})
    expected = {"revision": 1, "version": "small", "built_at": "2031-01-31T00:00:00Z", "prices": 1}
    assert expected == done
    read = await control.call("GET", PRICES)
    assert ('"1"', "small") == (read.headers["ETag"], read.document["version"])
    assert {**done, "built_at": None} | {"revision": 2} == await _put(control, SMALL)
    assert 2 == (await _put(control, SMALL))["revision"]
    settings = (await control.call("GET", "/api/v1/settings")).document
    assert (1, "small") == (settings["prices"], settings["price_version"])
    assert {"revision": 3, "version": "", "built_at": None, "prices": 0} == await _put(control, b"null")


async def test_prices_of_ones_own_may_be_yaml(control: ControlPlane) -> None:
    """An operator's list is written by hand."""
    body = b"- {model: m, input_usd_per_million: 0.0375, output_usd_per_million: 0}"
    done = await _put(control, body, **{"Content-Type": "application/yaml"})

    assert (1, True) == (done["prices"], done["version"].startswith("own prices "))


async def test_faults_and_conflicts_are_told(control: ControlPlane) -> None:
    """Every fault has its path, and nobody overwrites what he did not see."""
    faulty = await control.call("PUT", PRICES, [price_of(input_usd_per_million=-1)])
    assert (400, ["prices[0].input_usd_per_million"]) == (
        faulty.status,
        [fault["path"] for fault in faulty.document["faults"]],
    )
    late = await control.call("PUT", PRICES, SMALL, headers={"If-Match": '"7"', "Content-Type": "application/json"})
    assert (412, "precondition_failed") == (late.status, late.code)
    csv = await control.call("PUT", PRICES, b"m,1", headers={"Content-Type": "text/csv"})
    assert (415, "unsupported_media_type") == (csv.status, csv.code)


async def test_prices_are_put_on_every_plan(control: ControlPlane) -> None:
    """Below plan growth no rule acts, but calls are counted, and cost something."""
    settings = await control.call("PUT", "/api/v1/settings", {"plan": "free"}, headers={"If-Match": '"0"'})
    assert 200 == settings.status, settings.body

    assert 1 == (await _put(control, SMALL))["prices"]


async def test_sidecars_follow_small_and_large_books(control: ControlPlane, valkey_url: str, tmp_path: Path) -> None:
    """A small book comes as a change, a large one in one piece; rules stay, and the copy on disk has both."""
    await control.call("POST", "/api/v1/templates", {"key": "free", "limit_usd": 5, "action": "block"})
    async with following(valkey_url, control.workspace, tmp_path) as cache:
        for document in (SMALL, LARGE, SMALL, {**LARGE, "version": "larger"}):
            await _put(control, document)
            await eventually(lambda document=document: _version(cache) == document["version"])
            assert len(document["models"]) == cache.current.prices.count
            assert 1 == cache.current.count
        await eventually(lambda: cache.position.revision == 5)
    kept = await RuleCache.load(tmp_path)

    assert cache.current == kept.current
    priced = kept.current.prices.price(Usage(model="m-7", input_tokens=1), 0)
    assert priced is not None
    assert (2000, "larger") == priced


async def test_the_trail_tells_versions_and_earlier_prices_come_back(control: ControlPlane) -> None:
    """A large book does not stand in the trail, its version does; restoring finds it in the snapshot."""
    for document in (SMALL, LARGE, [price_of(input_usd_per_million=3)]):
        await _put(control, document)
    trail = (await control.call("GET", "/api/v1/audit")).document["items"]
    versions = [(entry["kind"], entry["price_versions"]["before"], entry["price_versions"]["after"]) for entry in trail]
    own = versions[0][2]
    assert [("prices", "large", own), ("prices", "small", "large"), ("prices", "", "small")] == versions
    assert {True} == {entry["prices_changed"] for entry in trail}

    for revision, version in ((2, "large"), (1, "small")):
        answer = await control.call("POST", "/api/v1/rules/restore", {"revision": revision})
        assert 200 == answer.status, answer.body
        assert version == (await control.call("GET", PRICES)).document["version"]


async def test_only_small_books_stand_in_the_trail(control: ControlPlane, valkey_url: str) -> None:
    """Readers load a large one with the rules: entries of half a megabyte would fill the store in time."""
    for document in (SMALL, LARGE):
        await _put(control, document)
    async with delivery(valkey_url, control.workspace) as made:
        small, large = await made.store.changes_after(0)

    assert (False, True) == (small.replaced, small.prices is not None)
    assert (True, None) == (large.replaced, large.prices)


async def test_a_pipeline_s_token_puts_prices(valkey_url: str) -> None:
    """The push token may, as with rules; who may only read may not."""
    async with control_plane(valkey_url, **TOKENS) as control:
        json_type = {"Content-Type": "application/json"}
        answers = [
            await control.call(method, PRICES, body, token=token, headers=json_type)
            for method, body in (("PUT", SMALL), ("GET", None))
            for token in (PUSH_TOKEN, WRITE_TOKEN, READ_TOKEN, None)
        ]
    assert [200, 200, 403, 401, 200, 200, 200, 401] == [answer.status for answer in answers]


async def test_an_export_brings_a_book_back(control: ControlPlane) -> None:
    """A rule file with a price book reads back the same, in YAML and JSON."""
    await _put(control, {**SMALL, "source": "s", "providers": [{"id": "p", "names": ["*p*"]}]})
    before = (await control.call("GET", PRICES)).document
    for kind in ("application/yaml", "application/json"):
        export = await control.call("GET", "/api/v1/rules/export", headers={"Accept": kind})
        assert "revision" in (await _put(control, b"null"))
        done = await control.call("POST", "/api/v1/rules/import", export.body, headers={"Content-Type": kind})
        assert 200 == done.status, done.body
        assert before == (await control.call("GET", PRICES)).document


async def test_the_command_line_applies_shows_and_prices(
    control: ControlPlane, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`apply` puts the book of all known models in force; `show` and `cost` ask the control plane for it."""

    async def run(*words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, ["prices", *words, "--control-url", control.url])
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    version = json.loads(BOOK.read_bytes())["version"]
    code, shown, _ = await run("apply", str(BOOK), "--note", "first")
    assert (0, True) == (code, shown.startswith("revision 1: 2") and shown.endswith(f"version {version}\n"))
    code, shown, _ = await run("show", "azure/gpt-4o")
    assert (0, True) == (code, "provider: openai\nmodel: gpt-4o\n" in shown and "input_usd_per_million: 2.5\n" in shown)
    code, shown, _ = await run("cost", "gpt-4o", "--input", "1000", "--output", "500")
    assert (0, f"0.0075 USD, openai/gpt-4o, version {version}\n") == (code, shown)
    code, _, told = await run("cost", "stranger")
    assert (1, f"stranger has no price in version {version}: its calls are unpriced\n") == (code, told)
    late = await run("apply", str(BOOK), "--if-revision", "7")
    assert (1, True) == (late[0], "precondition_failed" in late[2])
    faulty = tmp_path / "faulty.yaml"
    await asyncio.to_thread(faulty.write_text, "- {model: m}")
    code, _, told = await run("apply", str(faulty))
    assert (1, True) == (code, f"{faulty}: prices[0].input_usd_per_million: is required" in told)


async def test_an_empty_store_takes_its_first_book_from_a_file(valkey_url: str, tmp_path: Path) -> None:
    """Once, with a rule file or without one; prices in both are refused."""
    await asyncio.to_thread((tmp_path / "prices.json").write_text, json.dumps(SMALL))
    seed = {"seed_prices": tmp_path / "prices.json", "workspace": "seed-of-prices"}
    async with control_plane(valkey_url, **seed) as control:
        assert "small" == (await control.call("GET", PRICES)).document["version"]
        await _put(control, b"null")
    async with control_plane(valkey_url, **seed) as control:
        assert [] == (await control.call("GET", PRICES)).document

    rules = tmp_path / "rules.json"
    await asyncio.to_thread(rules.write_text, json.dumps({"rules": [], "prices": SMALL}))
    with pytest.raises(RuleSetInvalid, match="keep one of them"):
        async with control_plane(valkey_url, **seed, seed=rules):
            pass
