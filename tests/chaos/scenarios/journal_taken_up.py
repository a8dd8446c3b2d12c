"""Sidecars die by SIGKILL at random points, with and without their store; their journals are taken up again."""

import asyncio
import signal
import sys
from pathlib import Path

from tests.chaos.recovery import until_quiet
from tests.chaos.scenario import SETTINGS, Scenario, Stage
from tests.support.apps import Answer, ask, open_session
from tests.support.books import read_books
from tests.support.processes import ROOT, SidecarProcess, launch, template, wait_until_serving, write_rules
from tests.support.stores import StoreProcess, store_process

KILLS = 20
STORE_AWAY_EVERY = 3
CALLERS = 6
COST_NANOS = 1_000_000


class House:
    """One sidecar after the other over one data directory, and callers who remember what they were told."""

    def __init__(self, stage: Stage, store: StoreProcess) -> None:
        self.stage = stage
        self.store = store
        self.directory = stage.directory / "house"
        self.rules = write_rules(stage.directory / "rules.yaml", template("free", 1000, on_store_failure="allow"))
        self.allowed: dict[str, int] = {}
        self.unanswered = 0

    def start(self) -> SidecarProcess:
        """Start the next sidecar on what the last one left."""
        process = launch(self.directory, self.store.url, self.rules, workspace=self.stage.workspace, **SETTINGS)
        return wait_until_serving(process, self.directory / "log")

    async def call(self, url: str, life: int, number: int) -> None:
        """Check under ids of one's own until the sidecar is gone; an allow is the truth, whoever gave it."""
        user = f"user-{number}"
        async with open_session() as session:
            for count in range(100_000):
                body = {"user_id": user, "request_id": f"{life}-{count}", "tier": "free", "cost_usd": COST_NANOS / 1e9}
                try:
                    answer: Answer = await ask(session, f"{url}/v1/check", body)
                except Exception:
                    self.unanswered += 1
                    return
                self.allowed[user] = self.allowed.get(user, 0) + bool(answer.document["allowed"])


async def run(stage: Stage) -> None:
    """Kill twenty sidecars, every third without its store; each allowed call is charged in the end, once."""
    store = await stage.enter(store_process())
    house = House(stage, store)
    for life in range(KILLS):
        sidecar = await asyncio.to_thread(house.start)
        calling = [asyncio.create_task(house.call(sidecar.url, life, number)) for number in range(CALLERS)]
        await asyncio.sleep(stage.rng.uniform(0.05, 0.3))
        is_away = life % STORE_AWAY_EVERY == 1
        if is_away:
            await asyncio.to_thread(store.kill)
            await asyncio.sleep(stage.rng.uniform(0.05, 0.5))
        sidecar.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(sidecar.process.wait)
        await asyncio.gather(*calling)
        if is_away:
            await asyncio.to_thread(store.start)
    last = await asyncio.to_thread(house.start)
    await until_quiet([last])
    await asyncio.to_thread(last.stop)
    await _compare(stage, house, store.url)
    await _replay_again(stage, house.directory / "data", store.url)
    await _compare(stage, house, store.url)


async def _compare(stage: Stage, house: House, url: str) -> None:
    """What was allowed is charged; at most the calls whose answers died with a sidecar come on top."""
    books = await read_books(url, stage.workspace)
    found = {user: books.spend(user).get("month", 0) // COST_NANOS for user in house.allowed}
    short = {user: allowed - found[user] for user, allowed in house.allowed.items() if found[user] < allowed}
    surplus = sum(found.values()) - sum(house.allowed.values())
    stage.report.sent = sum(house.allowed.values()) + house.unanswered
    stage.report.audit_differences = len(books.report.differences)
    stage.report.notes |= {"kills": KILLS, "allowed": sum(house.allowed.values()), "charged_unanswered": surplus}
    stage.expect(not short, f"calls that were allowed are not charged: {short}")
    stage.expect(surplus <= house.unanswered, f"{surplus} calls too many are charged")
    stage.expect(not books.report.differences, f"the audit found {books.report.differences[:3]}")


async def _replay_again(stage: Stage, data_dir: Path, url: str) -> None:
    """Replay every journal by hand, twice at the same time."""
    words = [sys.executable, "-m", "cli.main", "journal", "replay", "--data-dir", str(data_dir), "--redis-url", url]
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


SCENARIO = Scenario(
    name="journal-taken-up",
    title="The only sidecar killed at 20 random points, every third time without its store; the next takes over",
    bound="nothing that was answered; calls whose answer died with the sidecar may be charged",
    run=run,
)
