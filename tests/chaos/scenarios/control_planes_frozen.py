"""Two control planes over one store, frozen in turn while rules change, calls are blocked and a sidecar is in trouble.

A control plane that goes on after a while has old rules, old news of sidecars, and events in its hands. Nothing that it
does then may undo or repeat what the other one has done meanwhile.
"""

import asyncio
import contextlib
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp

from controlplane.webhooks import LOOK_S, LOOKS
from ledger.connection import connect
from ledger.heartbeats import Heartbeats, SidecarReport
from tests.chaos.operators import Operators
from tests.chaos.scenario import Scenario, Stage
from tests.support.apps import ask, open_session
from tests.support.books import PATIENT
from tests.support.control_process import control_plane_process
from tests.support.patience import PATIENT as PATIENT_SIDECAR
from tests.support.processes import SidecarProcess
from tests.support.stores import store_process
from tests.support.webhook_receiver import Receiver, webhook_receiver

TIERS: Final = ("pro", "max")
CHANGES: Final = 15
FREEZES: Final = 6
PAUSE_S: Final = 0.02
REPORT_EVERY_S: Final = 1.0
WITHIN_S: Final = 60.0
OLD_NEWS_S: Final = LOOK_S * (LOOKS + 1)
"""After so long a control plane has looked at the sidecars often enough to tell what it believes."""
HOST: Final = "troubled"


class Troubled:
    """A sidecar that reports, every second, whether the store answers it."""

    def __init__(self, heartbeats: Heartbeats) -> None:
        self.is_well = True
        self._heartbeats = heartbeats

    async def report_on(self) -> None:
        """Report until cancelled."""
        while True:
            await self._heartbeats.report(
                SidecarReport(
                    id="sidecar-1",
                    version="1",
                    host=HOST,
                    revision=1,
                    epoch="e",
                    store_ok=self.is_well,
                    started_ms=1,
                    rules_source="store",
                )
            )
            await asyncio.sleep(REPORT_EVERY_S)


async def run(stage: Stage) -> None:
    """Freeze one while a sidecar recovers, then each in turn; compare trail, rules, blocked calls and what was told."""
    store = await stage.enter(store_process())
    receiver = await stage.enter_async(webhook_receiver())
    webhooks = _webhook_file(stage, receiver)
    planes = [await stage.enter(control_plane_process(store.url, stage.workspace, webhooks=webhooks)) for _ in range(2)]
    processes, apis = [process for process, _ in planes], [api for _, api in planes]
    (sidecar,) = await stage.sidecars(store.url, count=1, rules=None, **PATIENT_SIDECAR)
    session = await stage.enter_async(open_session())
    ids = [await _make_rule(session, apis[0], key) for key in TIERS]
    await _make_rule(session, apis[0], "free")
    troubled = await stage.enter_async(_troubled(store.url, stage.workspace))
    operators = Operators(session, apis, stage.rng)
    blocked: list[str] = []
    async with operators.working(ids), _blocked_calls(session, sidecar, blocked):
        troubled.is_well = False
        await _until(lambda: _told(receiver, "store_lost"))
        processes[0].send_signal(signal.SIGSTOP)
        troubled.is_well = True
        await _until(lambda: _told(receiver, "store_back"))
        await operators.wait_for(CHANGES)
        processes[0].send_signal(signal.SIGCONT)
        await asyncio.sleep(OLD_NEWS_S)
        for number in range(FREEZES):
            processes[number % 2].send_signal(signal.SIGSTOP)
            await operators.wait_for(stage.rng.randrange(1, CHANGES))
            processes[number % 2].send_signal(signal.SIGCONT)
            await operators.wait_for(CHANGES)
    await _until(lambda: set(blocked) <= {note["event"]["user_id"] for note in _blocked(receiver)})
    await _compare_rules(stage, session, apis, sidecar, operators)
    _compare_notes(stage, receiver, blocked)


def _webhook_file(stage: Stage, receiver: Receiver) -> Path:
    path = stage.directory / "webhooks.yaml"
    webhook = {"name": "ops", "url": receiver.url, "events": ["blocked", "store_lost", "store_back"]}
    path.write_text(json.dumps({"webhooks": [webhook]}))
    return path


async def _make_rule(session: aiohttp.ClientSession, api: str, key: str) -> str:
    rule = {"key": key, "limit_usd": 0, "window": "month", "action": "block"}
    async with session.post(f"{api}/templates", json=rule) as response:
        response.raise_for_status()
        return str((await response.json())["id"])


@contextlib.asynccontextmanager
async def _troubled(store_url: str, workspace: str) -> AsyncIterator[Troubled]:
    client = connect(store_url, PATIENT)
    troubled = Troubled(Heartbeats(client, workspace=workspace))
    reporting = asyncio.create_task(troubled.report_on())
    try:
        yield troubled
    finally:
        reporting.cancel()
        await asyncio.wait([reporting])
        await client.aclose()


@contextlib.asynccontextmanager
async def _blocked_calls(
    session: aiohttp.ClientSession, sidecar: SidecarProcess, blocked: list[str]
) -> AsyncIterator[None]:
    """Check for one user after the other, each of whom is over the limit, until the block ends."""
    stop = asyncio.Event()

    async def call() -> None:
        while not stop.is_set():
            user = f"user-{len(blocked)}"
            answer = await ask(session, f"{sidecar.url}/v1/check", {"user_id": user, "tier": "free", "cost_usd": 0.01})
            if answer.is_exact and answer.document["reason"] == "limit":
                blocked.append(user)
            await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(call())
        try:
            yield
        finally:
            stop.set()


async def _until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not is_so():  # noqa: ASYNC110 - what is awaited sends no event
            await asyncio.sleep(PAUSE_S)


async def _compare_rules(
    stage: Stage, session: aiohttp.ClientSession, apis: list[str], sidecar: SidecarProcess, operators: Operators
) -> None:
    """All have the same rules, and the trail has each accepted change once, one revision after the other."""
    trail = await _trail(session, apis[1])
    revision = trail[0]["revision"]

    places = [*[f"{api}/templates" for api in apis], f"{sidecar.url}/v1/rules"]
    async with asyncio.timeout(WITHIN_S):
        while {(await _read(session, place))["revision"] for place in places} != {revision}:  # noqa: ASYNC110 - as above
            await asyncio.sleep(PAUSE_S)
    books = [await _read(session, place) for place in places[:-1]]
    first, second = [{row["key"]: row["limit_usd"] for row in book["items"]} for book in books]
    changed = Counter(change["changes"][0]["after"]["key"] for change in trail if change["note"])
    notes = Counter(change["note"] for change in trail if change["note"])
    known = set(operators.accepted) | set(operators.unsure)
    stage.report.sent = len(known) + operators.refused
    stage.report.notes |= {"accepted": len(operators.accepted), "refused": operators.refused}
    stage.report.notes |= {"unsure": len(operators.unsure), "revision": revision}
    stage.expect(first == second, f"the control planes disagree: {first}, {second}")
    stage.expect(first == {"free": 0, **changed}, f"a change was overwritten: {first} after {changed}")
    stage.expect(set(operators.accepted) <= set(notes) <= known, "the trail has other changes than were accepted")
    stage.expect(set(notes.values()) == {1}, f"a change was made twice: {notes.most_common(3)}")
    numbers = [change["revision"] for change in trail]
    stage.expect(numbers == list(range(revision, 0, -1)), f"the trail has gaps: {numbers}")


def _compare_notes(stage: Stage, receiver: Receiver, blocked: list[str]) -> None:
    """Each blocked user was told of, the sidecar's trouble and its end as well; what came again has the same id."""
    told = _blocked(receiver)
    ids = {(note["event"]["user_id"], note["id"]) for note in told}
    states = [note["id"] for kind in ("store_lost", "store_back") for note in _told(receiver, kind)]
    stage.report.notes |= {"blocked_users": len(blocked), "told_again": len(told) - len(ids)}
    stage.expect(len(ids) == len({user for user, _ in ids}), "a blocked call was told as two")
    stage.expect({user for user, _ in ids} >= set(blocked), "a blocked call was not told")
    stage.expect(len(set(states)) == 2, f"a sidecar's trouble was told {len(set(states))} times, with its end")


def _blocked(receiver: Receiver) -> list[dict[str, Any]]:
    return [note for note in receiver.notes if note["kind"] == "blocked" and note["event"]["reason"] == "limit"]


def _told(receiver: Receiver, kind: str) -> list[dict[str, Any]]:
    """Return what was told of the sidecar in trouble; on a busy machine the other one may have been in some as well."""
    return [note for note in receiver.notes if note["kind"] == kind and HOST in note["text"]]


async def _trail(session: aiohttp.ClientSession, api: str) -> list[dict[str, Any]]:
    """Return all changes, newest first."""
    changes: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await _read(session, f"{api}/audit?limit=100{cursor}")
        changes += page["items"]
        if page["next_cursor"] is None:
            return changes
        cursor = f"&cursor={page['next_cursor']}"


async def _read(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as response:
        response.raise_for_status()
        return await response.json()


SCENARIO = Scenario(
    name="control-planes-frozen",
    title="Two control planes, frozen in turn, while operators change rules through both and a sidecar is in trouble",
    bound="nothing: no change is overwritten, each event is told; a webhook may get a note again, under the same id",
    run=run,
)
