"""The control plane dies before the first call and stays away: rules hold, also for sidecars that start without it."""

from collections import Counter
from functools import partial
from typing import Any, Final

import aiohttp

from ledger.money import usd_text
from tests.chaos.scenario import Scenario, Stage, off_the_loop
from tests.chaos.truth import NANOS
from tests.support.apps import ask_all, open_session
from tests.support.books import read_books
from tests.support.control_process import control_plane_process
from tests.support.processes import SidecarProcess
from tests.support.stores import store_process

LIMIT_NANOS: Final = 50_000_000
COST_NANOS: Final = 1_000_000
ADMITTED: Final = LIMIT_NANOS // COST_NANOS
TRIES: Final = 2 * ADMITTED
USERS: Final = 12


async def run(stage: Stage) -> None:
    """Set a limit, kill the control plane, let everybody call up to twice the limit; restart store and sidecars."""
    store = await stage.enter(store_process())
    await _set_limit(store.url, stage.workspace)
    sidecars = await stage.sidecars(store.url, rules=None)
    answers: Counter[str] = Counter()
    async with open_session() as session:
        for part in range(4):
            answers += await _call(session, sidecars, range(part * TRIES // 4, (part + 1) * TRIES // 4))
            if part == 0:
                await off_the_loop(store.kill)
                await off_the_loop(store.start)
            if part == 1:
                for sidecar in sidecars:
                    await off_the_loop(partial(sidecar.stop))
                sidecars = await stage.sidecars(store.url, rules=None)
    stage.report.sent, stage.report.answers = sum(answers.values()), {"exact": answers["allow"] + answers["block"]}
    stage.report.notes |= {"admitted": answers["allow"], "refused": answers["block"]}
    books = await read_books(store.url, stage.workspace)
    spends = {books.spend(f"user-{number}")["month"] for number in range(USERS)}
    stage.report.difference_nanos = sum(abs(spend - LIMIT_NANOS) for spend in spends)
    stage.report.audit_differences = len(books.report.differences)
    stage.expect(spends == {LIMIT_NANOS}, f"users spent {sorted(map(usd_text, spends))}")
    stage.expect(answers["allow"] == USERS * ADMITTED, f"{answers['allow']} calls were admitted")
    stage.expect(not books.report.differences, f"the audit found {books.report.differences[:3]}")


async def _set_limit(url: str, workspace: str) -> None:
    """Have a control plane set the limit; it is killed as soon as it has answered."""
    with control_plane_process(url, workspace) as (_, api):
        rule = {"key": "free", "limit_usd": LIMIT_NANOS / NANOS, "window": "month", "action": "block"}
        async with open_session() as session, session.post(f"{api}/templates", json=rule) as response:
            response.raise_for_status()


async def _call(session: aiohttp.ClientSession, sidecars: list[SidecarProcess], numbers: range) -> "Counter[str]":
    """Check for each user once a number, again by the same id until the ledger answers; returns the decisions."""
    calls = [
        (f"{sidecars[number % len(sidecars)].url}/v1/check", {"request_id": str(number), **_body(user)})
        for number in numbers
        for user in range(USERS)
    ]
    decisions: Counter[str] = Counter()
    while calls:
        answers = await ask_all(session, calls)
        decisions.update("allow" if answer.document["allowed"] else "block" for answer in answers if answer.is_exact)
        calls = [call for call, answer in zip(calls, answers, strict=True) if not answer.is_exact]
    return decisions


def _body(user: int) -> dict[str, Any]:
    return {"user_id": f"user-{user}", "tier": "free", "cost_usd": COST_NANOS / NANOS}


SCENARIO = Scenario(
    name="control-plane-gone",
    title="Control plane killed before the first call and away for good; store and sidecars start anew meanwhile",
    bound="nothing; rules cannot be changed meanwhile",
    run=run,
)
