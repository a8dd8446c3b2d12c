"""20,000 calls through two sidecars: every decision that is not a plain allow is in the log once, in order.

Each user's calls are made one after the other, many users' at the same time; a browser follows the log meanwhile, and
loses its connection again and again.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import aiohttp
import pytest

from cli.population import Caller, Population, TierShares
from cli.trace import generate_trace
from ledger.money import parse_usd, usd_text
from ledger.rule_parsing import parse_rule_set
from tests.support.apps import ask, open_session
from tests.support.control_reads import ControlReads, control_reads
from tests.support.processes import running_sidecars, template, write_rules
from tests.support.sse import event_source

CALLS: Final = 12_000
PARTITIONS: Final = 2
AT_A_TIME: Final = 48
CUTS: Final = 40
SEED: Final = 20
NANOS_PER_TOKEN: Final = 3000
NO_TIER: Final = "none"
END: Final = "the end"
EVENT_OF_DECISION: Final = {"warn": "warned", "block": "blocked", "dry_run": "dry_run"}

Logged = tuple[str, str]
"""Type and request id of an event."""


@dataclass(slots=True)
class Kept:
    """What the apps remember of their calls: each user's events in order, each tier's spend (nano-USD) and calls."""

    events: defaultdict[str, list[Logged]] = field(default_factory=lambda: defaultdict(list))
    spend: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    def answered(self, user_id: str, request_id: str, answer: dict[str, Any]) -> bool:
        """Remember an answer; says whether the call may go on."""
        assert not answer["degraded"], answer
        event = EVENT_OF_DECISION.get(answer["decision"])
        if event is not None:
            self.events[user_id].append((event, request_id))
        return bool(answer["allowed"])


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its id, and its cost in nano-USD."""

    request_id: str
    cost_nanos: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the apps, the pages and the live stream say afterwards, and the tiers."""

    kept: Kept
    paged: list[dict[str, Any]]
    live: list[dict[str, Any]]
    tiers: dict[str, dict[str, Any]]


def shares() -> Iterator[list[tuple[Caller, Call]]]:
    """Yield each worker's calls: all calls of a user are one worker's."""
    population = Population(users=300, zipf=0.7, tiers=TierShares.parse(f"free:4,pro:3,team:2,{NO_TIER}:1"), seed=SEED)
    workers: list[list[tuple[Caller, Call]]] = [[] for _ in range(AT_A_TIME)]
    for number, traced in enumerate(generate_trace(CALLS, SEED)):
        caller = population.draw()
        call = Call(f"call-{number}", (traced.prompt_tokens + 4 * traced.generated_tokens) * NANOS_PER_TOKEN)
        workers[int(caller.user_id.rpartition("-")[2]) % AT_A_TIME].append((caller, call))
    yield from workers


async def make_calls(
    session: aiohttp.ClientSession, url: str, share: Sequence[tuple[Caller, Call]], kept: Kept
) -> None:
    """Make calls one after the other: three of four are checks, the others are reserved and settled."""
    for number, (caller, call) in enumerate(share):
        named: dict[str, Any] = {"user_id": caller.user_id, "request_id": call.request_id}
        tier = {} if caller.tier == NO_TIER else {"tier": caller.tier}
        cost = {"cost_usd": usd_text(call.cost_nanos, decimals=9)}
        if number % 4:
            answer = await ask(session, f"{url}/v1/check", {**named, **tier, **cost})
        else:
            estimate = {"estimate_usd": usd_text(2 * call.cost_nanos, decimals=9)}
            answer = await ask(session, f"{url}/v1/reserve", {**named, **tier, **estimate})
        if not kept.answered(caller.user_id, call.request_id, answer.document):
            continue
        kept.calls[caller.tier] += 1
        kept.spend[caller.tier] += call.cost_nanos
        if not number % 4:
            answer = await ask(session, f"{url}/v1/settle", {**named, **cost})
            kept.answered(caller.user_id, call.request_id, answer.document)


async def follow(control: ControlReads, start: str) -> list[dict[str, Any]]:
    """Read the live log up to its end mark, over many connections."""
    random, last_id = Random(SEED), ""
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["request_id"] != END:
        async with event_source(control.session, control.url, last_id=last_id, after=start) as source:
            count = random.randrange(1, CALLS // CUTS)
            seen += [message.data for message in await source.enforcement(count, last_request=END)]
            last_id = source.last_id
    return seen


async def replay(control: ControlReads, urls: Sequence[str]) -> Outcome:
    """Make all calls, follow the log meanwhile, and read it page by page afterwards."""
    kept = Kept()
    start = (await control.get("events"))[1]["stream_cursor"]
    following = asyncio.create_task(follow(control, start))
    async with open_session() as session, asyncio.TaskGroup() as group:
        for number, share in enumerate(shares()):
            group.create_task(make_calls(session, urls[number % len(urls)], share, kept))
    await control.streams.add(request=END)
    live = await following
    paged = await control.items("events", limit="200")
    tiers = {tier["tier"]: tier for tier in await control.items("tiers")}
    return Outcome(kept, paged, live, tiers)


@pytest.fixture(scope="module")
def outcome(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Replay once for all tests."""
    directory = tmp_path_factory.mktemp("log")
    rules = write_rules(
        directory / "rules.yaml",
        template("free", 0.1, window="day", alert_thresholds_pct=[50, 80]),
        template("pro", 0.2, window="day", action="warn"),
        template("team", 0.1, action="dry_run"),
        template("*", 0.3, alert_thresholds_pct=[10, 20, 30, 40]),
    )

    async def run() -> Outcome:
        async with control_reads(valkey_url, partitions=PARTITIONS) as control:
            control.rule_set = parse_rule_set(json.loads(rules.read_text()), revision=1)
            settings = {"workspace": control.streams.workspace, "partitions": PARTITIONS}
            with running_sidecars(2, directory, valkey_url, rules, **settings) as sidecars:
                return await replay(control, [sidecar.url for sidecar in sidecars])

    return asyncio.run(run())


def logged(events: Sequence[dict[str, Any]]) -> dict[str, list[Logged]]:
    """Return each user's events in the order of a list."""
    found: defaultdict[str, list[Logged]] = defaultdict(list)
    for event in events:
        found[event["user_id"]].append((event["type"], event["request_id"]))
    found["alice"].remove(("blocked", END))
    return {user_id: of_user for user_id, of_user in found.items() if of_user}


def test_every_decision_that_warned_or_blocked_is_logged_once_and_in_order(outcome: Outcome) -> None:
    """Each user's events are those that the answers told of, in the order of the calls."""
    assert dict(outcome.kept.events) == logged(outcome.paged[::-1])


def test_there_were_many_of_each_kind(outcome: Outcome) -> None:
    """Or the test above would prove little."""
    kinds = Counter(kind for events in outcome.kept.events.values() for kind, _ in events)

    assert {"blocked", "warned", "dry_run"} == {kind for kind, number in kinds.items() if number > 500}


def test_the_log_is_in_the_order_of_time(outcome: Outcome) -> None:
    """Positions only fall from page to page, and so do times."""
    positions = [tuple(int(part) for part in event["id"].split("-")) for event in outcome.paged]
    moments = [event["at"] for event in outcome.paged[1:]]  # The first one was written by hand.

    assert sorted(set(positions), reverse=True) == positions
    assert sorted(moments, key=_comparable, reverse=True) == moments


def _comparable(moment: str) -> str:
    """Return a moment that sorts: those of whole seconds have no fraction on the wire."""
    return moment if "." in moment else moment.replace("Z", ".000Z")


def test_the_live_log_is_the_log(outcome: Outcome) -> None:
    """Whatever happened to the connection: the same events in the same order, none twice."""
    assert sorted(event["id"] for event in outcome.paged) == sorted(event["id"] for event in outcome.live)
    assert logged(outcome.paged[::-1]) == logged(outcome.live)


def test_tier_totals_equal_the_ledger(outcome: Outcome) -> None:
    """Spend and calls of each tier, and of those without one, to the nano."""
    kept, tiers = outcome.kept, outcome.tiers
    names = {**{name: name for name in ("free", "pro", "team")}, NO_TIER: "*"}
    found = {
        name: {(parse_usd(window["spend_usd"], field=name), window["calls"]) for window in tiers[shown]["windows"]}
        for name, shown in names.items()
    }

    assert {name: {(kept.spend[name], kept.calls[name])} for name in names} == found
