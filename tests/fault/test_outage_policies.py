"""Outages under each policy: killed, frozen, parted. What is let through stays inside the stated bound."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.support.apps import Answer, ask, ask_all, open_session
from tests.support.books import Books, new_workspace, read_books
from tests.support.metrics import metric
from tests.support.processes import SidecarProcess, launch, template, wait_until_serving, write_rules
from tests.support.store_proxy import StoreProxy, deliver, swallow
from tests.support.stores import ALWAYS, StoreProcess, store_process

COST_NANOS: Final = 10_000_000
FITS: Final = 5
CALLS: Final = 20
WORKERS: Final = 3
WITHIN_S: Final = 60.0
USERS: Final = ("ada", "eve")
ALLOWED: Final = {"deny": 0, "allow": CALLS, "some": FITS}
RULES: Final = (
    template("deny", 1000),
    template("allow", 1000, action="warn"),
    template("some", 1000, on_store_failure={"allow_up_to_usd": FITS * COST_NANOS / 1e9}),
)
SETTINGS: Final = {"deadline_ms": 200, "command_timeout_ms": 200, "breaker_pause_ms": 200}
"""The command's timeout is the deadline, so that `not_after` has passed when a held-up decision arrives."""
UNHURRIED: Final = {"deadline_ms": 2000, "command_timeout_ms": 2000}
"""For tests that count what is let through: a call is refused that the disk has not kept within the deadline."""


@dataclass(slots=True)
class Scene:
    """A store, the proxy before it, and a sidecar that asks it through the proxy."""

    session: aiohttp.ClientSession
    store: StoreProcess
    proxy: StoreProxy
    directory: Path
    workspace: str
    sidecar: SidecarProcess | None = None

    async def start(self, *, has_rules: bool = True, **settings: object) -> SidecarProcess:
        """Start the sidecar, off this loop, which serves the proxy; again on the same data after it was killed."""
        rules = write_rules(self.directory / "rules.yaml", *RULES) if has_rules else None
        configured = {**SETTINGS, **settings, "workspace": self.workspace}
        own = self.directory / "sidecar"
        process = await asyncio.to_thread(launch, own, self.proxy.url, rules, **configured)
        self.sidecar = await asyncio.to_thread(wait_until_serving, process, own / "log")
        return self.sidecar

    def url(self, call: str) -> str:
        """Return the address of a call."""
        assert self.sidecar is not None
        return f"{self.sidecar.url}/v1/{call}"

    def kill_sidecar(self) -> None:
        """End the sidecar at once."""
        if self.sidecar is not None:
            self.sidecar.process.send_signal(signal.SIGKILL)
            self.sidecar.process.wait()

    async def call(self, name: str) -> dict[str, dict[str, int]]:
        """Let every user of every tier make calls; return how many were allowed, by tier and user."""
        owners = [(tier, user) for tier in ALLOWED for user in USERS]
        bodies = [
            {"request_id": f"{name}-{number}", "user_id": f"{tier}-{user}", "tier": tier, "cost_usd": COST_NANOS / 1e9}
            for number in range(CALLS)
            for tier, user in owners
        ]
        answers = await ask_all(self.session, [(self.url("check"), body) for body in bodies], at_a_time=12)
        assert [] == [answer.document for answer in answers if answer.is_exact]
        found: dict[str, dict[str, int]] = {tier: dict.fromkeys(USERS, 0) for tier in ALLOWED}
        for answer, (tier, user) in zip(answers, owners * CALLS, strict=True):
            found[tier][user] += answer.document["allowed"]
        return found

    async def until_exact(self) -> None:
        """Ask in the name of somebody else until the ledger answers itself."""
        await self.until(lambda answer: answer.is_exact)

    async def until_reported(self) -> None:
        """Wait until the store has heard of everything that was decided without it."""
        await self.until_exact()
        async with asyncio.timeout(WITHIN_S):
            while await self.metric("spendgate_journal_pending_records"):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)

    async def until_open(self) -> None:
        """Ask until nobody waits for the store any more."""
        assert self.sidecar is not None
        async with asyncio.timeout(WITHIN_S):
            while not await metric(self.session, self.sidecar, "spendgate_breaker_open"):
                await ask(self.session, self.url("check"), {"user_id": "prober", "cost_usd": 0})

    async def until(self, is_so: Callable[[Answer], bool]) -> None:
        """Ask in the name of somebody else until an answer is so."""
        async with asyncio.timeout(WITHIN_S):
            while not is_so(await ask(self.session, self.url("check"), {"user_id": "prober", "cost_usd": 0})):
                pass

    async def metric(self, name: str, **labels: str) -> float:
        """Read one of the sidecar's metrics."""
        assert self.sidecar is not None
        return await metric(self.session, self.sidecar, name, **labels)

    def log(self) -> str:
        """Return what the sidecar has logged."""
        assert self.sidecar is not None
        return self.sidecar.log.read_text()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Provide a scene without its sidecar."""
    with store_process(appendfsync=ALWAYS) as store:
        async with StoreProxy(store.url).running() as proxy, open_session() as session:
            made = Scene(session, store, proxy, tmp_path, new_workspace())
            try:
                yield made
            finally:
                await asyncio.to_thread(made.kill_sidecar)


Breaking = tuple[Callable[[Scene], Any], Callable[[Scene], Any]]
OUTAGES: Final[dict[str, Breaking]] = {
    "killed": (lambda scene: scene.store.kill(), lambda scene: scene.store.start()),
    "frozen": (lambda scene: scene.store.freeze(), lambda scene: scene.store.thaw()),
    "parted": (lambda scene: scene.proxy.part(), lambda scene: scene.proxy.join()),
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_each_policy_keeps_its_bound_over_outages_and_restarts(scene: Scene, outage: str) -> None:
    """Deny lets nothing through, an allowance exactly its amount a user once, also after a second outage and a crash.

    Whatever was let through is charged in the end, to the nano-dollar, and nothing else.
    Catches a fail-open, an allowance that is not counted, and one that an end of the outage or a crash makes whole.
    """
    break_it, mend_it = OUTAGES[outage]
    await scene.start(**UNHURRIED)
    await scene.until_exact()
    break_it(scene)
    first = await scene.call("first")
    mend_it(scene)
    await scene.until_reported()
    between = await read_books(scene.store.url, scene.workspace)
    break_it(scene)
    second = await scene.call("second")
    await asyncio.to_thread(scene.kill_sidecar)
    await scene.start(**UNHURRIED)
    third = await scene.call("third")
    mend_it(scene)
    await scene.until_reported()
    after = await read_books(scene.store.url, scene.workspace)

    assert {tier: dict.fromkeys(USERS, count) for tier, count in ALLOWED.items()} == first
    assert {tier: dict.fromkeys(USERS, count) for tier, count in (ALLOWED | {"some": 0}).items()} == second == third
    assert _charged(ALLOWED) == _spend(between)
    assert _charged(ALLOWED | {"allow": 3 * CALLS}) == _spend(after)
    assert [] == between.report.differences + after.report.differences


def _charged(calls: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the nano-USD of each user's calls, by tier."""
    return {tier: dict.fromkeys(USERS, count * COST_NANOS) for tier, count in calls.items()}


def _spend(books: Books) -> dict[str, dict[str, int]]:
    return {tier: {user: books.spend(f"{tier}-{user}").get("month", 0) for user in USERS} for tier in ALLOWED}


async def test_workers_give_no_more_than_one_sidecar(scene: Scene) -> None:
    """Each has a part of the allowance, whichever of them a call reaches; catches one allowance for each worker."""
    await scene.start(workers=WORKERS, **UNHURRIED)
    await scene.until_exact()
    scene.store.kill()
    found = await scene.call("call")
    scene.store.start()

    assert [] == [user for user, count in found["some"].items() if not 0 < count <= FITS]


async def test_an_open_breaker_sends_one_question_at_a_time_and_nothing_else(scene: Scene) -> None:
    """Checks, batches and settles stay away from a store that answers no script; catches a herd, and callers as probes.

    The store answers greetings here, so that every script would reach it. What a sidecar reports of itself every few
    seconds decides nothing, and is sent all the same.
    """
    heard: list[bytes] = []
    await scene.start()
    await scene.until_exact()
    scene.proxy.on_command = lambda data: heard.append(data) if _is_script(data) else None
    scene.proxy.fate = lambda reply: swallow(reply) if reply.startswith(b"*") else reply
    await scene.until_open()
    async with asyncio.timeout(WITHIN_S):
        while await scene.metric("spendgate_breaker_transitions_total", to="half_open") < 4:
            await _everything(scene)
    probes = [number for number, data in enumerate(heard) if _is_probe(data)]
    scene.proxy.fate = deliver
    await scene.until_exact()

    # On a machine that stalls a probe may run out of time before it is sent.
    assert 1 <= len(probes) <= await scene.metric("spendgate_breaker_transitions_total", to="half_open")
    assert list(range(probes[0], probes[-1] + 1)) == probes


async def _everything(scene: Scene) -> None:
    """Ask in every way at once."""
    owner = {"user_id": "deny-ada", "request_id": "held"}
    operations = [{"op": "check", "user_id": "deny-ada", "tier": "deny", "cost_usd": 1}] * 10
    settle = {"op": "settle", **owner, "cost_usd": 1}
    answers = await ask_all(
        scene.session,
        [
            (scene.url("check"), {"user_id": "deny-ada", "tier": "deny", "cost_usd": 1}),
            (scene.url("reserve"), {**owner, "tier": "deny", "estimate_usd": 1}),
            (scene.url("settle"), {**owner, "cost_usd": 1}),
            (scene.url("batch"), {"operations": [*operations, settle]}),
        ],
    )
    check, reserve, _, batch = [answer.document for answer in answers]
    decisions = [check, reserve, *batch["results"][: len(operations)]]
    assert {(False, True, "store_unavailable")} == {
        (each["allowed"], each["degraded"], each["reason"]) for each in decisions
    }


def _is_script(data: bytes) -> bool:
    return b"FCALL" in data and b"spendgate_heartbeat" not in data


def _is_probe(data: bytes) -> bool:
    """Say whether a script was called without any operation: no plans and no calls are its last arguments."""
    return b"spendgate_admit" in data and data.endswith(b"$1\r\n0\r\n$1\r\n0\r\n")


async def test_a_flapping_store_costs_two_lines_a_flap(scene: Scene) -> None:
    """Each time the breaker opens and closes, and no call or probe writes a line of its own.

    A machine that stalls is one more flap.
    """
    flaps = 3
    await scene.start(breaker_pause_ms=50)
    await scene.until_exact()
    for _ in range(flaps):
        scene.store.freeze()
        await scene.until_open()
        await scene.call("flap")
        scene.store.thaw()
        await scene.until_exact()
    lines = [line for line in scene.log().splitlines() if "spendgate.breaker" in line]
    counts = Counter(line.partition("spendgate.breaker")[2].strip(": ")[:21] for line in lines)
    first_failures = counts.pop("the store did not ans", 0)

    closed = await scene.metric("spendgate_breaker_transitions_total", to="closed")
    assert {"the breaker is open (": closed, "the breaker is closed": closed} == counts
    assert flaps <= closed
    assert first_failures <= closed


async def test_a_start_without_the_store_waits_for_nobody(scene: Scene) -> None:
    """The first caller is answered from the rules, with an open breaker, and the store is found when it is there."""
    scene.store.freeze()
    await scene.start(deadline_ms=10_000, command_timeout_ms=10_000)
    started = time.monotonic()
    first = await scene.call("first")
    took_s = time.monotonic() - started
    is_open = await scene.metric("spendgate_breaker_open")
    scene.store.thaw()
    await scene.until_exact()

    assert ({tier: dict.fromkeys(USERS, count) for tier, count in ALLOWED.items()}, 1) == (first, is_open)
    assert took_s < 10  # A single call that waited for the store would take as long.
    assert 0 == await scene.metric("spendgate_breaker_open")


async def test_a_start_without_store_and_rules_refuses(scene: Scene) -> None:
    """There may be limits that it has never heard of; once it has heard that there are none, calls go through."""
    scene.store.kill()
    await scene.start(has_rules=False)
    first = await scene.call("first")
    scene.store.start()
    await scene.until_exact()
    await scene.until(lambda answer: answer.is_exact and answer.document["on_store_failure"] == "allow")

    assert {tier: dict.fromkeys(USERS, 0) for tier in ALLOWED} == first


async def test_an_idle_sidecar_notices_an_outage_by_itself(scene: Scene) -> None:
    """So the first call of the morning waits for nothing either."""
    await scene.start(sweep_interval_ms=50)
    await scene.until_exact()
    scene.store.freeze()
    async with asyncio.timeout(WITHIN_S):
        while not await scene.metric("spendgate_breaker_open"):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
    scene.store.thaw()
    await scene.until_exact()


async def test_what_was_let_through_is_shown_in_the_metrics(scene: Scene) -> None:
    """In dollars, as an operator adds it up."""
    await scene.start(**UNHURRIED)
    await scene.until_exact()
    scene.proxy.part()
    with contextlib.suppress(TimeoutError):
        await scene.call("call")
    scene.proxy.join()
    expected = len(USERS) * FITS * COST_NANOS / 1e9

    assert expected == pytest.approx(await scene.metric("spendgate_allowance_spent_usd_total"))
