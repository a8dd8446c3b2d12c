"""A start while the store does not give its rules: nothing is admitted until they have come, however well it is."""

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import StoreUnavailable
from ledger.rule_feed import RuleFeed
from sidecar.listeners import Listeners
from tests.support.books import new_workspace
from tests.support.rule_delivery import delivery
from tests.support.service_thread import sidecar_in_a_thread

ANSWER_S = 60.0


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


def _check(sidecar: Listeners, cost_usd: int) -> Any:
    body = {"user_id": "ada", "tier": "free", "cost_usd": cost_usd}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{sidecar.decision_url}/v1/check", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        return json.load(response)


def _is_ready(sidecar: Listeners) -> bool:
    try:
        with urllib.request.urlopen(f"{sidecar.admin_url}/readyz", timeout=ANSWER_S) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False


async def _add_rule(url: str, workspace: str) -> None:
    async with delivery(url, workspace) as control:
        await control.add("free", limit_usd=5)


def test_nothing_is_admitted_before_the_rules_of_the_store_have_come(
    valkey_url: str, workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store decides again before its rules are here; catches limits that hold for nobody in between."""
    asyncio.run(_add_rule(valkey_url, workspace))
    catch_up, is_silent = RuleFeed.catch_up, [True]

    async def silent(self: RuleFeed) -> None:
        if is_silent[0]:
            raise StoreUnavailable("the store is silent")
        await catch_up(self)

    monkeypatch.setattr(RuleFeed, "catch_up", silent)
    with sidecar_in_a_thread(tmp_path, valkey_url, workspace=workspace, rules_source="store") as sidecar:
        early, ready_early = _check(sidecar, 6), _is_ready(sidecar)
        is_silent[0] = False
        while not _is_ready(sidecar):
            pass
        blocked, allowed = _check(sidecar, 6), _check(sidecar, 5)

    assert (False, True, "store_unavailable", False) == (
        early["allowed"],
        early["degraded"],
        early["reason"],
        ready_early,
    )
    assert [(False, "limit"), (True, "threshold")] == [(each["allowed"], each["reason"]) for each in (blocked, allowed)]
    assert [5.0, 5.0] == [each["limit_usd"] for each in (blocked, allowed)]


def test_rules_of_the_last_run_hold_until_newer_ones_have_come(
    valkey_url: str, workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has a copy on disk does not wait for the store; catches a restart that refuses what it could decide."""
    asyncio.run(_add_rule(valkey_url, workspace))
    settings = {"workspace": workspace, "rules_source": "store"}
    with sidecar_in_a_thread(tmp_path, valkey_url, **settings) as sidecar:
        while not _is_ready(sidecar):
            pass

    async def silent(_self: RuleFeed) -> None:
        raise StoreUnavailable("the store is silent")

    monkeypatch.setattr(RuleFeed, "catch_up", silent)
    with sidecar_in_a_thread(tmp_path, valkey_url, **settings) as sidecar:
        decisions = [_check(sidecar, cost_usd) for cost_usd in (6, 5)]

    assert [(False, False), (True, False)] == [(each["allowed"], each["degraded"]) for each in decisions]
