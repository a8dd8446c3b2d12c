"""Sidecars die by SIGKILL at random points, with and without their store; their journals are taken up again."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from ledger.keys import partition_of
from tests.chaos.recovery import until_quiet
from tests.chaos.scenario import SETTINGS, Scenario, Stage
from tests.chaos.scenarios.cluster import DURABLE, PARTITIONS, slot_of_partition
from tests.support.apps import Answer, ask, open_session
from tests.support.books import read_books
from tests.support.processes import ROOT, SidecarProcess, launch, template, wait_until_serving, write_rules
from tests.support.servers import Server, cluster_store
from tests.support.stores import StoreProcess, store_process

KILLS = 20
KILLS_ON_A_CLUSTER = 8
STORE_AWAY_EVERY = 3
CALLERS = 6
COST_NANOS = 1_000_000
BOUND = "nothing that was answered; calls whose answer died with the sidecar may be charged"


def user_of(number: int) -> str:
    """Return the user whom a caller calls for."""
    return f"user-{number}"


class House:
    """One sidecar after the other over one data directory, and callers who remember what they were told.

    `server` is the store, or that of its servers which goes away.
    """

    def __init__(self, stage: Stage, url: str, server: StoreProcess | Server, *, partitions: int = 1) -> None:
        self.stage = stage
        self.url = url
        self.server = server
        self.settings = {**SETTINGS, "partitions": partitions}
        self.directory = stage.directory / "house"
        self.rules = write_rules(stage.directory / "rules.yaml", template("free", 1000, on_store_failure="allow"))
        self.allowed: dict[str, int] = {}
        self.unanswered = 0

    def start(self) -> SidecarProcess:
        """Start the next sidecar on what the last one left."""
        process = launch(self.directory, self.url, self.rules, workspace=self.stage.workspace, **self.settings)
        return wait_until_serving(process, self.directory / "log")

    async def call(self, url: str, life: int, number: int) -> None:
        """Check under ids of one's own until the sidecar is gone; an allow is the truth, whoever gave it."""
        user = user_of(number)
        async with open_session() as session:
            for count in range(100_000):
                body = {"user_id": user, "request_id": f"{life}-{count}", "tier": "free", "cost_usd": COST_NANOS / 1e9}
                try:
                    answer: Answer = await ask(session, f"{url}/v1/check", body)
                except Exception:
                    self.unanswered += 1
                    return
                self.allowed[user] = self.allowed.get(user, 0) + bool(answer.document["allowed"])


async def on_one_server(stage: Stage) -> House:
    """Return a house over one server, which goes away."""
    store = await stage.enter(store_process())
    return House(stage, store.url, store)


async def on_a_cluster(stage: Stage) -> House:
    """Return a house over a Cluster, whose server of the first caller goes away."""
    store = await stage.enter(cluster_store(None, *DURABLE))
    slot = slot_of_partition(partition_of(user_of(0), PARTITIONS))
    return House(stage, store.url, await asyncio.to_thread(store.server_of, slot), partitions=PARTITIONS)


async def run(stage: Stage, *, build: Callable[[Stage], Awaitable[House]], kills: int) -> None:
    """Kill so many sidecars, every third without its store; each allowed call is charged in the end, once."""
    house = await build(stage)
    for life in range(kills):
        sidecar = await asyncio.to_thread(house.start)
        calling = [asyncio.create_task(house.call(sidecar.url, life, number)) for number in range(CALLERS)]
        await asyncio.sleep(stage.rng.uniform(0.05, 0.3))
        is_away = life % STORE_AWAY_EVERY == 1
        if is_away:
            await asyncio.to_thread(house.server.kill)
            await asyncio.sleep(stage.rng.uniform(0.05, 0.5))
        sidecar.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(sidecar.process.wait)
        await asyncio.gather(*calling)
        if is_away:
            await asyncio.to_thread(house.server.start)
    last = await asyncio.to_thread(house.start)
    await until_quiet([last])
    await asyncio.to_thread(last.stop)
    stage.report.notes["kills"] = kills
    await _compare(stage, house)
    await _replay_again(stage, house)
    await _compare(stage, house)


async def _compare(stage: Stage, house: House) -> None:
    """What was allowed is charged; at most the calls whose answers died with a sidecar come on top."""
    books = await read_books(house.url, stage.workspace)
    found = {user: books.spend(user).get("month", 0) // COST_NANOS for user in house.allowed}
    short = {user: allowed - found[user] for user, allowed in house.allowed.items() if found[user] < allowed}
    surplus = sum(found.values()) - sum(house.allowed.values())
    stage.report.sent = sum(house.allowed.values()) + house.unanswered
    stage.report.audit_differences = len(books.report.differences)
    stage.report.notes |= {"allowed": sum(house.allowed.values()), "charged_unanswered": surplus}
    stage.expect(not short, f"calls that were allowed are not charged: {short}")
    stage.expect(surplus <= house.unanswered, f"{surplus} calls too many are charged")
    stage.expect(not books.report.differences, f"the audit found {books.report.differences[:3]}")


async def _replay_again(stage: Stage, house: House) -> None:
    """Replay every journal by hand, twice at the same time."""
    journals = ["--data-dir", str(house.directory / "data")]
    words = [sys.executable, "-m", "cli.main", "journal", "replay", *journals, "--redis-url", house.url]
    replays = [
        await asyncio.create_subprocess_exec(
            *words, "--workspace", stage.workspace, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    for replay in replays:
        output, _ = await replay.communicate()
        stage.report.notes["replayed_again"] = output.decode().strip()
        stage.expect(replay.returncode == 0, f"a replay failed: {output.decode()}")


SCENARIOS = [
    Scenario(
        name="journal-taken-up",
        title=f"The only sidecar killed at {KILLS} random points, each third time without its store; another follows",
        bound=BOUND,
        run=partial(run, build=on_one_server, kills=KILLS),
    ),
    Scenario(
        name="journal-taken-up-on-a-cluster",
        title=f"The same {KILLS_ON_A_CLUSTER} times over a Cluster, every third time without one of its servers",
        bound=BOUND,
        run=partial(run, build=on_a_cluster, kills=KILLS_ON_A_CLUSTER),
    ),
]
