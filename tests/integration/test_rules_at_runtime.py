"""Rules that change while a sidecar runs: the next call is decided by the new ones, with the spend that is there."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.support.apps import Answer, ask, open_session
from tests.support.books import every_window, new_workspace, read_books
from tests.support.processes import SidecarProcess, running_sidecar, steady_timezone, template, write_rules

APPLIED_WITHIN_S: Final = 60.0
POLL_S: Final = 0.02
PUSH_TOKEN: Final = "token-of-the-push"


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Return a rule file: 1 dollar a month for free users, 10 for pro users, both blocked."""
    return write_rules(tmp_path / "rules.yaml", template("free", 1), template("pro", 10))


@pytest.fixture
def sidecar(tmp_path: Path, valkey_url: str, rules: Path, workspace: str) -> Iterator[SidecarProcess]:
    """Run a sidecar that follows the rule file."""
    with running_sidecar(tmp_path, valkey_url, rules, workspace=workspace) as running:
        yield running


async def _check(session: aiohttp.ClientSession, sidecar: SidecarProcess, cost_usd: object, **fields: object) -> Any:
    body = {"user_id": "ada", "tier": "free", "cost_usd": cost_usd} | fields
    answer = await ask(session, f"{sidecar.url}/v1/check", body)
    assert 200 == answer.status, answer.document
    return answer.document


async def _revision_in_force(session: aiohttp.ClientSession, sidecar: SidecarProcess) -> int:
    async with session.get(f"{sidecar.url}/v1/rules") as response:
        return int(response.headers["ETag"].strip('"'))


async def _applied(session: aiohttp.ClientSession, sidecar: SidecarProcess, revision: int) -> None:
    """Wait until a revision is in force; a `TimeoutError` says that it did not come in time."""
    async with asyncio.timeout(APPLIED_WITHIN_S):
        while await _revision_in_force(session, sidecar) < revision:  # noqa: ASYNC110 - another process swaps
            await asyncio.sleep(POLL_S)


async def _logged(sidecar: SidecarProcess, text: str) -> None:
    async with asyncio.timeout(APPLIED_WITHIN_S):
        while text not in sidecar.log.read_text():  # noqa: ASYNC110 - another process logs
            await asyncio.sleep(POLL_S)


async def _push(session: aiohttp.ClientSession, sidecar: SidecarProcess, document: dict[str, object]) -> Answer:
    headers = {"Authorization": f"Bearer {PUSH_TOKEN}"}
    async with session.put(f"{sidecar.url}/v1/rules", json=document, headers=headers) as response:
        return Answer(response.status, await response.json(content_type=None))


async def test_a_raised_limit_unblocks_the_next_call(sidecar: SidecarProcess, rules: Path) -> None:
    """A call that the old limit refuses passes under the new one; catches refusals or plans that outlive the rules."""
    async with open_session() as session:
        await _check(session, sidecar, 1)
        blocked = await _check(session, sidecar, 0.5, request_id="again")
        write_rules(rules, template("free", 2), template("pro", 10))
        await _applied(session, sidecar, 2)
        passed = await _check(session, sidecar, 0.5, request_id="again")

    assert ("block", 1.0, 1) == (blocked["decision"], blocked["spend_usd"], blocked["rules_revision"])
    assert ("allow", 1.5, 2) == (passed["decision"], passed["spend_usd"], passed["rules_revision"])


async def test_a_lowered_limit_blocks_the_next_call_and_claws_nothing_back(
    sidecar: SidecarProcess, rules: Path
) -> None:
    """Spend beyond a lowered limit stays as it is; catches a limit that is kept from the first call of the window."""
    async with open_session() as session:
        await _check(session, sidecar, "0.75")
        write_rules(rules, template("free", "0.5"), template("pro", 10))
        await _applied(session, sidecar, 2)
        answer = await _check(session, sidecar, "0.000000001")

    assert ("block", 0.75, -0.25) == (answer["decision"], answer["spend_usd"], answer["remaining_usd"])


async def test_a_changed_tier_keeps_the_spend(sidecar: SidecarProcess, valkey_url: str, workspace: str) -> None:
    """The counter is the user's, the totals are the tiers'; catches counters that are kept by tier."""
    async with open_session() as session:
        await _check(session, sidecar, "0.9")
        blocked = await _check(session, sidecar, "0.2")
        upgraded = await _check(session, sidecar, "0.2", tier="pro")
        downgraded = await _check(session, sidecar, "0.2")
    books = await read_books(valkey_url, workspace)

    assert ["block", "allow", "block"] == [each["decision"] for each in (blocked, upgraded, downgraded)]
    assert (1.1, 10.0) == (upgraded["spend_usd"], upgraded["limit_usd"])
    assert every_window(1_100_000_000) == books.spend("ada")
    assert (every_window(900_000_000), every_window(200_000_000)) == (books.tier_spend("free"), books.tier_spend("pro"))


async def test_a_daily_rule_added_at_noon_knows_the_morning(sidecar: SidecarProcess, rules: Path) -> None:
    """A new window type starts with what the day has spent; catches days counted only from the first daily rule on."""
    async with open_session() as session:
        await _check(session, sidecar, "0.6")
        write_rules(rules, template("free", 1), template("free", "0.7", window="day"))
        await _applied(session, sidecar, 2)
        refused = await _check(session, sidecar, "0.100000001")
        passed = await _check(session, sidecar, "0.1")

    budgets = {each["window"]: each["spend_usd"] for each in passed["budgets"]}
    assert ("block", "day") == (refused["decision"], refused["window"])
    assert (True, {"month": 0.7, "day": 0.7}) == (passed["allowed"], budgets)


async def test_a_zone_that_is_new_starts_from_the_morning_as_well(sidecar: SidecarProcess, rules: Path) -> None:
    """A daily rule of another zone is seeded with the workspace's day; catches a zone that gives a fresh budget."""
    async with open_session() as session:
        await _check(session, sidecar, "0.6")
        write_rules(rules, template("free", "0.7", window="day", timezone="Asia/Kathmandu"))
        await _applied(session, sidecar, 2)
        refused = await _check(session, sidecar, "0.2")
        passed = await _check(session, sidecar, "0.1")

    assert ("block", 0.6) == (refused["decision"], refused["spend_usd"])
    assert (True, 0.7, True) == (passed["allowed"], passed["spend_usd"], passed["budgets"][0]["seeded"])


async def test_a_bad_file_keeps_the_old_rules(sidecar: SidecarProcess, rules: Path) -> None:
    """A file with a fault changes nothing and is logged with it; catches rules that are dropped or half applied."""
    async with open_session() as session:
        write_rules(rules, template("free", 5), template("pro", -1))
        await _logged(sidecar, "rules[1].limit_usd")
        passed = await _check(session, sidecar, 1)
        blocked = await _check(session, sidecar, 1)

    assert (True, False, 1.0) == (passed["allowed"], blocked["allowed"], blocked["limit_usd"])
    assert 1 == blocked["rules_revision"]


async def test_a_mended_file_is_taken_after_a_bad_one(sidecar: SidecarProcess, rules: Path) -> None:
    """The next good file is in force although the one before was refused; catches a watch that ends at a fault."""
    async with open_session() as session:
        write_rules(rules, template("free", "much"))
        await _logged(sidecar, "rules[0].limit_usd")
        write_rules(rules, template("free", 3))
        await _applied(session, sidecar, 2)
        answer = await _check(session, sidecar, 2)

    assert ("allow", 3.0) == (answer["decision"], answer["limit_usd"])


async def test_a_pushed_rule_set_takes_effect(tmp_path: Path, valkey_url: str, workspace: str) -> None:
    """The call after a push is decided by it, none is admitted before the first; catches a start without limits."""
    document = {"workspace": {"timezone": steady_timezone()}, "rules": [template("free", 1)]}
    with running_sidecar(tmp_path, valkey_url, None, workspace=workspace, push_token=PUSH_TOKEN) as sidecar:
        async with open_session() as session:
            early = await _check(session, sidecar, "0.9")
            pushed = await _push(session, sidecar, document | {"revision": 7})
            before = await _check(session, sidecar, "0.9")
            after = await _check(session, sidecar, "0.2")
            stale = await _push(session, sidecar, document | {"revision": 6})

    assert ("block", "store_unavailable", True) == (early["decision"], early["reason"], early["degraded"])
    assert ("warn", 0.9, 7) == (before["decision"], before["spend_usd"], before["rules_revision"])
    assert (200, {"revision": 7, "rules": 1, "changed": True}) == (pushed.status, pushed.document)
    assert ("block", 0.9, 7) == (after["decision"], after["spend_usd"], after["rules_revision"])
    assert (409, "stale_revision") == (stale.status, stale.document["code"])


async def test_a_faulty_push_changes_nothing(tmp_path: Path, valkey_url: str, workspace: str) -> None:
    """A push with two faults is refused with both and the old rules decide on; catches rules applied one by one."""
    good = {"revision": 1, "workspace": {"timezone": steady_timezone()}, "rules": [template("free", 1)]}
    bad = good | {"revision": 2, "rules": [template("free", 5), template("pro", -1), template("", 1)]}
    with running_sidecar(tmp_path, valkey_url, None, workspace=workspace, push_token=PUSH_TOKEN) as sidecar:
        async with open_session() as session:
            await _push(session, sidecar, good)
            refused = await _push(session, sidecar, bad)
            answer = await _check(session, sidecar, 2)

    paths = {fault["path"] for fault in refused.document["faults"]}
    assert (400, {"rules[1].limit_usd", "rules[2].key"}) == (refused.status, paths)
    assert ("block", 1.0, 1) == (answer["decision"], answer["limit_usd"], answer["rules_revision"])
