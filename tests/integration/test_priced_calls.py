"""Calls priced by a running sidecar: tokens of real models, estimates, models without a price, and what is recorded."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio
import redis.asyncio

from ledger.event_filter import EventFilter
from ledger.event_log import EventLog
from tests.support.apps import Answer, ask, open_session
from tests.support.books import every_window, new_workspace, read_books
from tests.support.processes import SidecarProcess, running_sidecar, template, write_rules

BOOK: Final = Path(__file__).parents[2] / "config" / "prices.json"
VERSION: Final = json.loads(BOOK.read_bytes())["version"]
GPT_4O: Final = {"model": "gpt-4o", "input_tokens": 1000}
STRANGER: Final = {"model": "stranger", "input_tokens": 1000, "output_tokens": 10}


@pytest.fixture(scope="module")
def workspace() -> str:
    """A workspace for the whole module; each test has users of its own."""
    return new_workspace()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sidecar keeps its files."""
    return tmp_path_factory.mktemp("priced")


@pytest.fixture(scope="module")
def rules(directory: Path) -> Path:
    """Block rules with each policy for models without a price."""
    tiers = {"deny": "deny", "allow": "allow", "flat": {"charge_usd": 0.25}}
    return write_rules(
        directory / "rules.json", *(template(tier, 100, on_unpriced=policy) for tier, policy in tiers.items())
    )


@pytest.fixture(scope="module")
def sidecar(directory: Path, valkey_url: str, rules: Path, workspace: str) -> Iterator[SidecarProcess]:
    """A sidecar with the prices of all known models."""
    with running_sidecar(directory, valkey_url, rules, prices=BOOK, workspace=workspace) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="function")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session of the test's own."""
    async with open_session() as opened:
        yield opened


async def _ask(
    session: aiohttp.ClientSession, sidecar: SidecarProcess, operation: str, user_id: str, **fields: Any
) -> Answer:
    return await ask(session, f"{sidecar.url}/v1/{operation}", {"user_id": user_id, "tier": "deny", **fields})


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({**GPT_4O, "output_tokens": 500}, 0.0075),
        ({**GPT_4O, "model": "azure/gpt-4o-2024-11-20", "output_tokens": 500}, 0.0075),
        (
            {"provider": "openai", "model": "GPT-4o", "input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 8},
            1e-5,
        ),
        ({"model": "text-embedding-3-small", "input_tokens": 1, "output_tokens": 0}, 2e-8),
    ],
)
async def test_tokens_of_real_models_are_charged(
    session: aiohttp.ClientSession, sidecar: SidecarProcess, usage: dict[str, object], usd: float
) -> None:
    """Exactly, under whatever name the model is called."""
    user_id = f"charged-{usd}-{usage['model']}"
    answer = await _ask(session, sidecar, "check", user_id, usage=usage)

    assert ("allow", usd) == (answer.document["decision"], answer.document["spend_usd"])


@pytest.mark.parametrize(
    ("estimate", "usd"),
    [
        ({"max_output_tokens": 2000}, 0.0025 + 0.02),
        ({"max_output_tokens": 2000, "estimate": "worst_case"}, 0.0025 + 0.02),
        ({"estimate": "worst_case"}, 0.0025 + 1.28),
        ({}, 0.0025 + 1.28),
        ({"max_output_tokens": 2000, "estimate": "p95"}, 0.0025 + 0.02),
    ],
)
async def test_output_that_is_not_known_is_held_as_estimated(
    session: aiohttp.ClientSession, sidecar: SidecarProcess, estimate: dict[str, object], usd: float
) -> None:
    """What is asked for, else the context window; the settle brings what was used."""
    user_id = f"held-{estimate}"
    call = {"request_id": "r", "usage": {**GPT_4O, **estimate}}
    held = await _ask(session, sidecar, "reserve", user_id, **call)
    assert (True, usd) == (held.document["allowed"], held.document["held_usd"])

    again = await _ask(session, sidecar, "reserve", user_id, **call)
    assert (200, True) == (again.status, again.document["replayed"])
    other = await _ask(session, sidecar, "reserve", user_id, **{**call, "usage": {**GPT_4O, "max_output_tokens": 1}})
    assert 422 == other.status

    usage = {**GPT_4O, "output_tokens": 500}
    settled = await _ask(session, sidecar, "settle", user_id, request_id="r", usage=usage)
    assert (0.0075, 0.0, 0.0075) == tuple(settled.document[name] for name in ("cost_usd", "held_usd", "spend_usd"))


async def test_what_calls_usually_answer_is_learned_and_kept(
    directory: Path, valkey_url: str, rules: Path, session: aiohttp.ClientSession
) -> None:
    """After twenty calls the estimate is what is usual for this model and tier, after a restart too."""
    reserve = {"usage": {**GPT_4O, "model": "openai/gpt-4o", "estimate": "p95"}}
    settings = {"prices": BOOK, "workspace": new_workspace()}
    with running_sidecar(directory / "learning", valkey_url, rules, **settings) as sidecar:
        for number in range(20):
            usage = {**GPT_4O, "output_tokens": 100}
            await _ask(session, sidecar, "check", "teacher", request_id=f"{number}", usage=usage)
        learned = await _ask(session, sidecar, "reserve", "first", request_id="r", **reserve)
        elsewhere = await _ask(session, sidecar, "reserve", "second", request_id="r", **{**reserve, "tier": "flat"})
    with running_sidecar(directory / "learning", valkey_url, rules, **settings) as sidecar:
        kept = await _ask(session, sidecar, "reserve", "third", request_id="r", **reserve)

    assert [0.0025 + 0.00103, 1.2825] == [answer.document["held_usd"] for answer in (learned, elsewhere)]
    assert 0.0025 + 0.00103 == kept.document["held_usd"]


@pytest.mark.parametrize(
    ("tier", "decision", "reason", "usd"),
    [
        ("deny", "block", "unpriced", 0.0),
        ("allow", "allow", "unpriced", 0.0),
        ("flat", "allow", "unpriced", 0.25),
    ],
)
async def test_a_model_without_a_price_follows_the_policy(
    session: aiohttp.ClientSession, sidecar: SidecarProcess, tier: str, decision: str, reason: str, usd: float
) -> None:
    """Denied, let through or charged flat: never a price of nothing that nobody sees."""
    answer = await _ask(session, sidecar, "check", f"unpriced-{tier}", tier=tier, usage=STRANGER)

    expected = (decision, reason, usd)
    assert expected == tuple(answer.document[name] for name in ("decision", "reason", "spend_usd"))
    async with session.get(f"{sidecar.admin_url}/metrics") as response:
        text = await response.text()
    assert "\nspendgate_unpriced_calls_total 0.0" not in text
    assert 1 == sidecar.log.read_text().count("no price for model 'stranger'")


async def test_a_settle_without_a_price_charges_the_estimate_and_tells(
    session: aiohttp.ClientSession, sidecar: SidecarProcess
) -> None:
    """The money is gone; how much, a later correction says."""
    await _ask(session, sidecar, "reserve", "late", request_id="r", usage={**GPT_4O, "output_tokens": 500})
    settled = await _ask(session, sidecar, "settle", "late", request_id="r", usage=STRANGER)

    assert (0.0075, True) == (settled.document["cost_usd"], settled.document["unpriced"])


async def test_each_event_tells_the_version_of_its_prices(
    session: aiohttp.ClientSession, sidecar: SidecarProcess, valkey_url: str, workspace: str
) -> None:
    """What was priced by the book names it; what had no price or was sent as an amount names none."""
    dear = {**GPT_4O, "output_tokens": 100_000_000}
    for fields in ({"usage": dear}, {"usage": STRANGER}, {"cost_usd": 101}):
        assert "block" == (await _ask(session, sidecar, "check", "told", **fields)).document["decision"]
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        page = await EventLog(client, workspace).page(EventFilter(user_id="told"))

    versions = [(event.model, event.price_version) for event in page.events]
    assert [("", ""), ("stranger", ""), ("gpt-4o", VERSION)] == versions


async def test_the_books_are_balanced(valkey_url: str, workspace: str, sidecar: SidecarProcess) -> None:
    """Whatever was estimated: what is held and spent is what the records say."""
    assert sidecar.process.poll() is None
    books = await read_books(valkey_url, workspace)

    assert [] == books.report.differences
    assert every_window(7_500_000) == books.spend("late")


@pytest.mark.parametrize(
    ("operation", "fields", "field"),
    [
        ("check", {"usage": {**GPT_4O, "max_output_tokens": 1}}, "usage.max_output_tokens"),
        ("settle", {"request_id": "r", "usage": {**GPT_4O, "estimate": "p95"}}, "usage.estimate"),
        ("reserve", {"request_id": "r", "usage": {**GPT_4O, "estimate": "least"}}, "usage.estimate"),
        (
            "reserve",
            {"request_id": "r", "usage": {**GPT_4O, "output_tokens": 1, "max_output_tokens": 1}},
            "usage.max_output_tokens",
        ),
    ],
)
async def test_a_wrong_estimate_is_refused(
    session: aiohttp.ClientSession, sidecar: SidecarProcess, operation: str, fields: dict[str, Any], field: str
) -> None:
    """With the field that is wrong; nothing is written."""
    answer = await _ask(session, sidecar, operation, "wrong", **fields)

    assert (400, field) == (answer.status, answer.document["field"])
