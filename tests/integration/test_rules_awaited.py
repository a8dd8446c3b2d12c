"""A start before the rules of the store, or of a push, are here: nothing is admitted until they have come."""

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
from tests.support.processes import template
from tests.support.rule_delivery import delivery
from tests.support.service_thread import sidecar_in_a_thread

ANSWER_S = 60.0
PUSH_TOKEN = "token-of-the-push"


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


def _push(sidecar: Listeners, revision: int) -> None:
    rules = {"revision": revision, "rules": [template("free", 5)]}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {PUSH_TOKEN}"}
    request = urllib.request.Request(
        f"{sidecar.decision_url}/v1/rules", json.dumps(rules).encode(), headers, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        assert 200 == response.status


def _awaits(sidecar: Listeners) -> float:
    with urllib.request.urlopen(f"{sidecar.admin_url}/metrics", timeout=ANSWER_S) as response:
        lines = response.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith("spendgate_rules_awaited ")))


def test_nothing_is_admitted_before_the_first_push(valkey_url: str, workspace: str, tmp_path: Path) -> None:
    """A sidecar that waits for its rules refuses, and shows why; catches a start at which limits hold for nobody."""
    settings = {"workspace": workspace, "push_token": PUSH_TOKEN}
    with sidecar_in_a_thread(tmp_path, valkey_url, **settings) as sidecar:
        early, seen_early = _check(sidecar, 6), (_is_ready(sidecar), _awaits(sidecar))
        _push(sidecar, 1)
        decisions, seen = [_check(sidecar, cost_usd) for cost_usd in (6, 5)], (_is_ready(sidecar), _awaits(sidecar))
    with sidecar_in_a_thread(tmp_path, valkey_url, **settings) as sidecar:
        again, seen_again = _check(sidecar, 1), (_is_ready(sidecar), _awaits(sidecar))

    assert (False, True, "store_unavailable", "deny") == tuple(
        early[name] for name in ("allowed", "degraded", "reason", "on_store_failure")
    )
    assert [(False, "limit"), (True, "threshold")] == [(each["allowed"], each["reason"]) for each in decisions]
    assert ("limit", False) == (again["reason"], again["degraded"])
    assert [(False, 1.0), (True, 0.0), (True, 0.0)] == [seen_early, seen, seen_again]
