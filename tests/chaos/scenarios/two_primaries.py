"""A primary is cut off together with one sidecar, which goes on charging there, while Sentinels make another primary.

The sidecar on the other side charges the new one. What both admit beyond the limit is the price of the partition. When
it ends, the old primary follows the new one and forgets what it took in; the journal of its sidecar brings that back.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import aiohttp

from ledger.money import usd_text
from tests.chaos.recovery import replayed, until_quiet
from tests.chaos.scenario import Scenario, Stage, off_the_loop
from tests.chaos.truth import NANOS
from tests.support.apps import Answer, ask_all, open_session
from tests.support.books import read_books
from tests.support.ports import HOST, free_ports
from tests.support.processes import SidecarProcess, template
from tests.support.servers import SERVICE, SentinelStore, sentinel_store
from tests.support.store_proxy import StoreProxy

USERS: Final = [f"user-{number}" for number in range(12)]
COST_NANOS: Final = 1_000_000
COST_USD: Final = COST_NANOS / NANOS
LIMIT_CALLS: Final = 100
CALLS_BEFORE: Final = 20
LEFT_CALLS: Final = LIMIT_CALLS - CALLS_BEFORE
REPLICAS: Final = 2
PAUSE_S: Final = 0.1
"""Between two calls of a user: the limit is not reached before the primary can know that it is alone."""
DEADLINE_S: Final = 60.0
NEEDS_A_REPLICA: Final = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")

Round = list[Answer]


class Side:
    """Callers of one sidecar, who take what they are told for final; `admitted` counts each user's calls."""

    def __init__(self, session: aiohttp.ClientSession, sidecar: SidecarProcess) -> None:
        self.admitted: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self._session = session
        self._url = f"{sidecar.url}/v1/check"
        self._name = f"{sidecar.process.pid}"
        self._rounds = 0

    async def admit(self, user: str, request_id: str) -> None:
        """Ask again by the same id until the ledger itself has admitted a call."""
        async with asyncio.timeout(DEADLINE_S):
            while not (await self._ask([user], request_id))[0].is_exact:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(PAUSE_S)

    async def call_until(self, is_over: Callable[[Round], bool]) -> None:
        """Check once for each user, under ids that are new, again and again until a round was answered as it says."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_over(await self._ask(USERS, f"{self._name}-{self._rounds}")):
                self._rounds += 1
                await asyncio.sleep(PAUSE_S)

    async def _ask(self, users: Sequence[str], request_id: str) -> Round:
        bodies = [{"user_id": user, "request_id": request_id, "tier": "free", "cost_usd": COST_USD} for user in users]
        answers = await ask_all(self._session, [(self._url, body) for body in bodies])
        for user, answer in zip(users, answers, strict=True):
            self.admitted[user] += bool(answer.document["allowed"])
            self.answers["exact" if answer.is_exact else "degraded_denied"] += 1
        return answers


async def run(stage: Stage, *, options: tuple[str, ...] = (), waits: bool = False) -> None:
    """Call on both sides of a partition until the other side has reached the limit and the lone one admits no more."""
    store, seen, ways = await _house(stage, options)
    rules = [template("free", LIMIT_CALLS * COST_NANOS / NANOS, wait_for_replica=waits)]
    behind = f"redis+sentinel://{','.join(way.url.removeprefix('redis://') for way in ways)}/{SERVICE}"
    sidecars = [
        *await stage.sidecars(behind, count=1, rules=rules),
        *await stage.sidecars(store.url, count=1, rules=rules),
    ]
    session = await stage.enter_async(open_session())
    alone, other = [Side(session, sidecar) for sidecar in sidecars]
    await _spend_some(alone, other)
    for proxy in (seen, *ways):
        proxy.part()
    stage.report.longest_gap_s = await _go_on(alone, other, refuses_alone=bool(options) or waits)
    for proxy in (seen, *ways):
        proxy.join()
    await off_the_loop(store.wait_until_agreed)
    await until_quiet(sidecars)
    for side in (alone, other):
        await side.call_until(lambda answers: all(map(_is_at_the_limit, answers)))
    stage.report.notes["replayed"] = await replayed(sidecars)
    await _compare(stage, store.url, alone, other, most_over=0 if waits else LEFT_CALLS)


async def _house(stage: Stage, options: tuple[str, ...]) -> tuple[SentinelStore, StoreProxy, list[StoreProxy]]:
    """Start the servers, a proxy through which all others see the primary, and the lone sidecar's ways to Sentinels.

    On these ways the primary is named by its own port, as whoever is on its side of the partition sees it.
    """
    (port,) = free_ports(1)
    seen = await stage.enter_async(StoreProxy(f"redis://{HOST}:{port}").running())
    seen_at = int(seen.url.rpartition(":")[2])
    store = await stage.enter(
        sentinel_store(None, *options, replicas=REPLICAS, primary_port=port, seen_at=seen_at),
    )
    named, own = (b"$%d\r\n%d\r\n" % (len(str(number)), number) for number in (seen_at, port))
    ways = []
    for sentinel in store.sentinels:
        way = await stage.enter_async(StoreProxy(f"redis://{HOST}:{sentinel.port}").running())
        way.fate = lambda reply: reply.replace(named, own)
        ways.append(way)
    return store, seen, ways


async def _spend_some(*sides: Side) -> None:
    """Spend the same for each user, through both sidecars, until the ledger itself has said yes so often."""
    for user in USERS:
        for number in range(CALLS_BEFORE):
            await sides[number % len(sides)].admit(user, f"before-{number}")


async def _go_on(alone: Side, other: Side, *, refuses_alone: bool) -> float:
    """Call on both sides; returns for how long the other side had no exact answer, in seconds."""
    parted_s, gap_s = time.monotonic(), 0.0
    is_other_done = False

    def other_is_over(answers: Round) -> bool:
        nonlocal is_other_done, gap_s
        if not gap_s and any(answer.is_exact for answer in answers):
            gap_s = time.monotonic() - parted_s
        is_other_done = all(map(_is_at_the_limit, answers))
        return is_other_done

    def alone_is_over(answers: Round) -> bool:
        is_refused = (
            not any(answer.is_exact for answer in answers) if refuses_alone else all(map(_is_at_the_limit, answers))
        )
        return is_other_done and is_refused

    async with asyncio.TaskGroup() as group:
        group.create_task(other.call_until(other_is_over))
        group.create_task(alone.call_until(alone_is_over))
    return gap_s


def _is_at_the_limit(answer: Answer) -> bool:
    return answer.is_exact and answer.document["reason"] == "limit"


async def _compare(stage: Stage, store_url: str, *sides: Side, most_over: int) -> None:
    """Everything that was admitted is charged, also beyond the limit, and that is no more than was left."""
    admitted = {user: sum(side.admitted[user] for side in sides) for user in USERS}
    books = await read_books(store_url, stage.workspace)
    spends = {user: books.spend(user)["month"] for user in USERS}
    most = max(admitted.values()) - LIMIT_CALLS
    report = stage.report
    report.sent = sum(side.answers.total() for side in sides)
    report.answers = dict(sum((side.answers for side in sides), Counter()))
    report.difference_nanos = sum(abs(spends[user] - count * COST_NANOS) for user, count in admitted.items())
    report.audit_differences = len(books.report.differences)
    report.notes["left_usd"] = usd_text((LIMIT_CALLS - CALLS_BEFORE) * COST_NANOS)
    report.notes["most_over_the_limit_usd"] = usd_text(most * COST_NANOS)
    stage.expect(not report.difference_nanos, f"spend differs from what was admitted: {spends}, {admitted}")
    stage.expect(0 <= most <= most_over, f"a user passed the limit by {most} calls")
    stage.expect((most > 0) == (most_over > 0), "one primary knew of the other")
    stage.expect(not report.audit_differences, f"the audit found {books.report.differences[:3]}")


def _scenario(name: str, title: str, bound: str, **terms: Any) -> Scenario:
    return Scenario(name=f"two-primaries{name}", title=title, bound=bound, run=partial(run, **terms))


SCENARIOS = [
    _scenario(
        "",
        "Primary cut off together with one sidecar; Sentinels make a replica the primary beside it",
        "nothing is lost; until they are one again each admits what was left of a limit",
    ),
    _scenario(
        "-needing-a-replica",
        "The same under `min-replicas-to-write 1` and `min-replicas-max-lag 2`",
        "nothing is lost; the one that is alone admits for 2 to 4 seconds",
        options=NEEDS_A_REPLICA,
    ),
    _scenario(
        "-waiting",
        "The same under `wait_for_replica`",
        "nothing: the one that is alone admits nothing",
        waits=True,
    ),
]
