"""Webhooks over a real store and a real receiver: each thing told once, nothing lost, whatever fails."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.metrics import Metrics
from controlplane.sidecars import SidecarLine, SidecarsNow, Standing
from controlplane.webhook_file import Kind, Webhook
from controlplane.webhook_notes import note_of, trial_note
from controlplane.webhook_sender import Result, WebhookSender
from controlplane.webhook_teller import GIVE_UP_AFTER_S, WebhookTeller
from controlplane.webhooks import HealthWatch
from ledger import webhook_queue
from ledger.background import Background
from ledger.errors import StoreUnavailable
from ledger.heartbeats import SidecarState
from ledger.webhook_queue import DAY_MS, ToldHealth, WebhookQueue
from tests.support.event_streams import EventStreams, event_streams
from tests.support.webhook_receiver import Receiver, webhook_receiver

PARTITIONS = 2
ALL = frozenset(Kind)


@dataclass(slots=True)
class Clock:
    """Pauses take no time but are counted."""

    now_s: float = 0.0

    async def pause(self, seconds: float) -> None:
        """Let the others run, and say that the time has passed."""
        self.now_s += seconds
        await asyncio.sleep(0.001)


@dataclass(slots=True)
class House:
    """The streams of a workspace, a receiver, and tellers that stand for control planes."""

    streams: EventStreams
    receiver: Receiver
    sender: WebhookSender
    clock: Clock
    metrics: Metrics

    def teller(self, consumer: str = "one", **changes: Any) -> WebhookTeller:
        """Return a control plane's teller of the one webhook."""
        webhook = Webhook(**({"name": "ops", "url": self.receiver.url, "kinds": ALL} | changes))
        queue = WebhookQueue(
            self.streams.client, self.streams.workspace, PARTITIONS, webhook=webhook.name, consumer=consumer
        )
        return WebhookTeller(
            webhook, queue, self.sender, self.metrics, pause=self.clock.pause, clock=lambda: self.clock.now_s
        )


@pytest.fixture
async def house(store_url: str) -> AsyncIterator[House]:
    """An empty workspace of two partitions."""
    async with event_streams(store_url, partitions=PARTITIONS) as streams, webhook_receiver() as receiver:
        sender = WebhookSender(streams.workspace)
        try:
            yield House(streams, receiver, sender, Clock(), Metrics())
        finally:
            await sender.aclose()


@contextlib.asynccontextmanager
async def _running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    failures: list[bool] = []
    background = Background(on_failure=lambda: failures.append(True))
    for each in work:
        background.start(each)
    try:
        yield
    finally:
        await background.stop()
    assert [] == failures, "a teller failed"


async def _until(condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            pass


async def _is_idle(teller: WebhookTeller) -> bool:
    backlog = await teller.queue.backlog()
    return (backlog.lag, backlog.pending) == (0, 0)


async def test_what_happens_is_told_in_order(house: House) -> None:
    """Over all partitions; what happened before the first start is not news."""
    await house.streams.add(user="before")
    teller = house.teller()
    await teller.queue.open()
    for number in range(6):
        await house.streams.add(user=f"user-{number}", partition=number % PARTITIONS)
    async with _running(teller.run()):
        await house.receiver.until(notes=6)
        await _until(lambda: _is_idle(teller))
    assert sorted(note["event"]["user_id"] for note in house.receiver.notes) == [
        f"user-{number}" for number in range(6)
    ]
    assert teller.standing.delivered == len(house.receiver.messages)


async def test_a_storm_of_blocks_is_one_note(house: House) -> None:
    """300 blocked calls of one user against one limit, over many looks; another user is another note."""
    teller = house.teller()
    await teller.queue.open()
    async with _running(teller.run()):
        await house.streams.add_many(300, first_ms=1_000_000)
        await house.streams.add(user="bob")
        await _until(lambda: _is_idle(teller))
    assert sorted(note["event"]["user_id"] for note in house.receiver.notes) == ["alice", "bob"]


async def test_what_is_not_wanted_is_passed_over(house: House) -> None:
    """And does not stay behind as lag."""
    teller = house.teller(kinds=frozenset({Kind.EXPIRED}))
    await teller.queue.open()
    await house.streams.add()
    await house.streams.add(type="expired", request="late")
    async with _running(teller.run()):
        await _until(lambda: _is_idle(teller))
    assert [note["event"]["request_id"] for note in house.receiver.notes] == ["late"]


async def test_a_failing_receiver_is_tried_again(house: House) -> None:
    """With the same id and the same notes, until it takes them; what came later follows."""
    house.receiver.statuses = [500, 503, 429, 408]
    teller = house.teller()
    await teller.queue.open()
    await house.streams.add(user="first")
    async with _running(teller.run()):
        await house.receiver.until(attempts=1)
        await house.streams.add(user="second")
        await house.receiver.until(notes=2)
    ids = [headers["webhook-id"] for headers, _ in house.receiver.attempts]
    assert len(set(ids[:5])) == 1
    assert [note["event"]["user_id"] for note in house.receiver.notes] == ["first", "second"]
    assert teller.standing.failing_since_ms is None


@pytest.mark.parametrize("status", [302, 400, 401, 404, 410])
async def test_a_refusal_is_not_repeated(house: House, status: int) -> None:
    """No redirect is followed; the next note is sent all the same."""
    house.receiver.statuses = [status]
    teller = house.teller()
    await teller.queue.open()
    await house.streams.add(user="refused")
    async with _running(teller.run()):
        await house.receiver.until(attempts=1)
        await _until(lambda: _is_idle(teller))
        await house.streams.add(user="taken")
        await house.receiver.until(notes=1)
    assert [note["event"]["user_id"] for note in house.receiver.notes] == ["taken"]
    assert str(status) in teller.standing.last_error


async def test_a_receiver_that_stays_away_is_given_up(house: House) -> None:
    """After six hours of attempts; the event is counted as lost, and the queue goes on."""
    house.receiver.statuses = [500] * 10_000
    teller = house.teller()
    await teller.queue.open()
    await house.streams.add()
    async with _running(teller.run()):
        await _until(lambda: _is_idle(teller))
    assert house.clock.now_s >= GIVE_UP_AFTER_S
    given_up = {"webhook": "ops", "result": "given_up"}
    assert house.metrics.registry.get_sample_value("spendgate_control_webhook_messages_total", given_up) == 1


async def test_what_a_dead_process_took_is_told_by_another(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had sent the note but not said so: the receiver sees the same id twice, and can tell."""
    monkeypatch.setattr(webhook_queue, "TAKEN_OVER_AFTER_MS", 0)
    first, second = house.teller("one"), house.teller("two")
    await first.queue.open()
    await house.streams.add(user="ada")
    (event,) = await first.queue.take(10)
    note = note_of(event, first.webhook)
    assert note is not None
    await first._deliver([note], [event], give_up_after_s=1)
    async with _running(second.run()):
        await house.receiver.until(notes=2)
        await _until(lambda: _is_idle(second))
    one, other = house.receiver.notes
    assert one == other


async def test_who_still_tries_keeps_what_it_took(house: House) -> None:
    """While one control plane repeats an attempt, another does not send the same; pauses age what was taken as well."""
    house.receiver.statuses = [500] * 50
    first, second = house.teller("one"), house.teller("two")
    await first.queue.open()
    await house.streams.add()
    first._pause = lambda seconds: _pause_with_the_store(house, first.queue, seconds)
    async with _running(first.run()):
        await house.receiver.until(attempts=2)
        async with _running(second.run()):
            await house.receiver.until(notes=1)
            await _until(lambda: _is_idle(first))
    assert len(house.receiver.notes) == 1


async def _pause_with_the_store(house: House, queue: WebhookQueue, seconds: float) -> None:
    """Let a pause pass for the store too: what a consumer has taken was idle so much longer."""
    await house.clock.pause(seconds)
    key, group, consumer = house.streams.key(), queue._group, queue._consumer
    for each in await house.streams.client.xpending_range(key, group, "-", "+", 10, consumername=consumer):
        idle_ms = each["time_since_delivered"] + int(seconds * 1000)
        await house.streams.client.xclaim(key, group, consumer, 0, [each["message_id"]], idle=idle_ms, justid=True)


async def test_two_control_planes_tell_each_thing_once(house: House) -> None:
    """Events go to one of them."""
    tellers = [house.teller("one"), house.teller("two")]
    await tellers[0].queue.open()
    async with _running(*(teller.run() for teller in tellers)):
        for number in range(200):
            await house.streams.add(user=f"user-{number}", partition=number % PARTITIONS)
        await _until(lambda: _is_idle(tellers[0]))
    users = [note["event"]["user_id"] for note in house.receiver.notes]
    assert sorted(users) == sorted(f"user-{number}" for number in range(200))


async def test_a_lost_store_is_begun_anew(house: House) -> None:
    """The group is made again, and what the new stream has is told from its start."""
    teller = house.teller()
    async with _running(teller.run()):
        await _until(lambda: _has_stream(house, PARTITIONS - 1))
        for partition in range(PARTITIONS):
            await house.streams.client.delete(house.streams.key(partition))
        await house.streams.add(user="new")
        await house.receiver.until(notes=1)
    assert [note["event"]["user_id"] for note in house.receiver.notes] == ["new"]


async def test_a_store_that_refuses_a_command_ends_nobody(house: House) -> None:
    """A full or broken store is asked again, and what happens after it is well is told."""
    teller = house.teller()
    await teller.queue.open()
    broken = house.streams.key(0)
    await house.streams.client.delete(broken)
    await house.streams.client.set(broken, "no stream")
    with pytest.raises(StoreUnavailable):
        await teller.queue.open()
    with pytest.raises(StoreUnavailable):
        await teller.queue.take(10)
    async with _running(teller.run()):
        await house.streams.client.delete(broken)
        await _until(lambda: _has_stream(house, 0))
        await house.streams.add(user="after")
        await house.receiver.until(notes=1)
    assert [note["event"]["user_id"] for note in house.receiver.notes] == ["after"]


async def _has_stream(house: House, partition: int) -> bool:
    return bool(await house.streams.client.exists(house.streams.key(partition)))


async def test_a_note_about_health_is_told_beside_events(house: House) -> None:
    """Also while events cannot be read; to those only who asked for it."""
    teller, deaf = house.teller(), house.teller("deaf", kinds=frozenset({Kind.BLOCKED}))
    note = trial_note(5)
    async with _running(teller.run_health(), deaf.run_health()):
        for each in (teller, deaf):
            each.put(note)
        await house.receiver.until(notes=1)
    assert [note.id] == [told["id"] for told in house.receiver.notes]


def _look(*, store_ok: bool, seen_ms: int) -> SidecarsNow:
    """What a control plane sees of one sidecar."""
    state = SidecarState(
        id="s1",
        version="1",
        host="pod-1",
        revision=1,
        epoch="e",
        store_ok=store_ok,
        started_ms=1,
        rules_source="store",
        seen_ms=seen_ms,
        age_ms=0,
    )
    return SidecarsNow(1, (SidecarLine(state, Standing.CURRENT),))


async def test_an_older_look_of_another_control_plane_is_no_news(house: House) -> None:
    """Each keeps what it has seen for a second: the one must not tell again what the other has seen to be over."""
    one, two = (HealthWatch([house.teller(name)]) for name in ("one", "two"))
    before, after = _look(store_ok=False, seen_ms=1_000), _look(store_ok=True, seen_ms=2_000)
    again, over = _look(store_ok=False, seen_ms=3_000), _look(store_ok=True, seen_ms=4_000)
    told: list[str] = []
    for watch in (one, two):
        for teller in watch.tellers:
            teller.put = lambda note: told.append(note.kind)  # type: ignore[method-assign]
    looks = [(one, before), (two, before), (one, before), (two, before), (one, after), (two, before), (two, after)]
    looks += [(two, again), (one, after), (two, again), (one, again), (one, again), (two, over), (one, again)]
    for watch, now in looks:
        await watch.note_sidecars(now)
    assert [Kind.STORE_LOST, Kind.STORE_BACK] * 2 == told


async def test_a_sidecar_that_is_gone_is_forgotten(house: House) -> None:
    """A day after the last that was told of it, not by a look that does not know it yet."""
    teller, now_ms = house.teller(), int(time.time() * 1000)
    watch = HealthWatch([teller])
    for name, seen_ms in (("gone", now_ms - 2 * DAY_MS), ("new", now_ms)):
        assert await teller.queue.note_health(name, degraded=True, seen_ms=seen_ms)
    await watch.note_sidecars(SidecarsNow(1, ()))
    assert {"new": ToldHealth(degraded=True, seen_ms=now_ms)} == await teller.queue.healths()


async def test_a_receiver_that_is_not_there_is_a_failure(house: House) -> None:
    """With a reason."""
    attempt = await house.teller(url="http://127.0.0.1:1/").attempt(trial_note(1))
    assert (Result.FAILED, True) == (attempt.result, bool(attempt.reason))
