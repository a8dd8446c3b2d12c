"""The live log over HTTP: nothing is lost or repeated, whatever happens to the connection."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from controlplane.api import event_stream, events
from controlplane.api.event_stream import LiveFeed, LiveSources
from ledger.connection import StoreTimeouts, connect
from ledger.event_filter import EVERYTHING
from ledger.event_log import EventLog
from ledger.heartbeats import SidecarReport
from tests.support.control_reads import ControlReads, control_reads
from tests.support.hostile_names import HOSTILE_NAMES
from tests.support.ledger_under_test import rules, template
from tests.support.sse import EventSource, Message, event_source
from tests.support.stores import store_process

PARTITIONS = 3
DEADLINE_S = 60.0


@pytest.fixture
async def control(store_url: str) -> AsyncIterator[ControlReads]:
    """A control plane over an empty workspace of three partitions."""
    async with control_reads(store_url, partitions=PARTITIONS) as control:
        yield control


def ids(messages: list[Message]) -> list[str]:
    """Return the request ids of messages."""
    return [message.data["request_id"] for message in messages]


async def test_an_event_comes_as_it_stands_in_the_pages(control: ControlReads) -> None:
    """The same fields, and as id the cursor behind it."""
    async with event_source(control.session, control.url) as source:
        await source.wait_for_id()
        await control.streams.add(partition=1, request="new")
        (message,) = await source.enforcement(1)
    (event,) = await control.items("events")

    assert event == message.data
    assert control.streams.log.parse_cursor(message.last_id, field="id").ids[1] > (0, 0)


async def test_a_stream_goes_on_where_the_page_ended(control: ControlReads) -> None:
    """`after` is the page's cursor: what came in between is sent, what the page showed is not."""
    await control.streams.add(request="shown")
    _, page = await control.get("events")
    await control.streams.add(partition=2, request="between")
    async with event_source(control.session, control.url, after=page["stream_cursor"]) as source:
        assert ["between"] == ids(await source.enforcement(1))


async def test_a_browser_that_reconnects_loses_and_repeats_nothing(control: ControlReads) -> None:
    """Twenty cuts at random places while 2,000 events are written over all partitions."""
    random, total, seen = Random(3), 2000, []
    _, page = await control.get("events")

    async def write() -> None:
        for number in range(total):
            await control.streams.add(partition=random.randrange(PARTITIONS), request=f"r-{number}")

    writing = asyncio.create_task(write())
    last_id = ""
    while len(seen) < total:
        count = min(random.randrange(1, 200), total - len(seen))
        async with event_source(control.session, control.url, last_id=last_id, after=page["stream_cursor"]) as source:
            seen += ids(await source.enforcement(count))
            last_id = source.last_id
    await writing

    assert [f"r-{number}" for number in range(total)] == sorted(seen, key=lambda name: int(name[2:]))


async def test_the_header_counts_before_the_parameter(control: ControlReads) -> None:
    """A reconnect repeats the first URL; what the browser saw since is in its header."""
    _, start = await control.get("events")
    await control.streams.add("1000-0", request="seen")
    _, later = await control.get("events")
    await control.streams.add("2000-0", request="new")
    last_id, after = later["stream_cursor"], start["stream_cursor"]
    async with event_source(control.session, control.url, last_id=last_id, after=after) as source:
        assert ["new"] == ids(await source.enforcement(1))


async def test_a_reader_has_an_id_before_its_first_event(control: ControlReads) -> None:
    """Cut before anything happened, it still misses nothing."""
    async with event_source(control.session, control.url) as source:
        last_id = await source.wait_for_id()
    await control.streams.add(request="while away")
    async with event_source(control.session, control.url, last_id=last_id) as source:
        assert ["while away"] == ids(await source.enforcement(1))


async def test_a_filter_holds_for_the_stream_too(control: ControlReads) -> None:
    """Only what is wanted is sent."""
    async with event_source(control.session, control.url, user_id="bob") as source:
        await source.wait_for_id()
        for partition in range(PARTITIONS):
            await control.streams.add(partition=partition, request="other")
            await control.streams.add(partition=partition, user="bob", request=f"bobs-{partition}", type="expired")
            await control.streams.add(partition=partition, user="bob", request=f"bobs-{partition}")
        found = await source.enforcement(PARTITIONS)

    assert {f"bobs-{partition}" for partition in range(PARTITIONS)} == set(ids(found))


async def test_rules_and_sidecars_are_told_at_once_and_when_they_change(
    control: ControlReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an open page knows without asking."""
    monkeypatch.setattr(event_stream, "SIDECARS_S", 0.01)
    report = SidecarReport(
        id="a",
        version="1",
        host="h",
        revision=9,
        epoch="epoch",
        store_ok=True,
        started_ms=1,
        rules_source="store",
    )
    async with event_source(control.session, control.url) as source:
        first = [(await source.next("rules")).data, (await source.next("sidecars")).data]
        control.rule_set = rules(template("free", 5), revision=9)
        # The sidecars may be told first, if they were being looked at meanwhile.
        told = {message.event: message.data for message in [await _next_of_two(source) for _ in range(2)]}
        await control.heartbeats.report(report)
        states = await source.next("sidecars")

    counts = ("revision", "current", "total", "own_rules", "stale", "store_trouble")
    nobody = dict.fromkeys((*counts, "breaker_open", "recovering", "degraded_lately"), 0)
    assert [{"revision": 0}, nobody] == first
    assert {"rules": {"revision": 9}, "sidecars": nobody | {"revision": 9}} == told
    assert nobody | {"revision": 9, "current": 1, "total": 1} == states.data


async def _next_of_two(source: EventSource) -> Message:
    async for message in source.messages():
        if message.event in {"rules", "sidecars"}:
            return message
    raise AssertionError("the stream ended")


async def test_a_quiet_stream_shows_that_it_lives(control: ControlReads, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment, and an id that has moved over events that were not wanted."""
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    async with event_source(control.session, control.url, user_id="bob") as source:
        first = await source.wait_for_id()
        await control.streams.add(request="not wanted")
        while source.last_id == first:
            source.last_id = ""
            await source.wait_for_id()
    async with event_source(control.session, control.url, last_id=source.last_id) as source:
        await control.streams.add(request="wanted")
        assert ["wanted"] == ids(await source.enforcement(1))


async def test_a_reader_is_told_what_was_trimmed_while_it_was_away(control: ControlReads) -> None:
    """A gap is said, not hidden."""
    async with event_source(control.session, control.url) as source:
        last_id = await source.wait_for_id()
    await control.streams.add_many(10)
    await control.streams.client.xtrim(control.streams.key(), maxlen=3, approximate=False)
    async with event_source(control.session, control.url, last_id=last_id) as source:
        assert {"code": "trimmed"} == (await source.next("gap")).data


@pytest.mark.parametrize("last_id", ["nonsense", "1.2", "1.0.0.0.0", "<script>"])
async def test_an_id_of_another_log_is_refused(control: ControlReads, last_id: str) -> None:
    """By name, before any stream."""
    async with control.session.get(
        f"{control.url}/api/v1/events/stream", headers={"Last-Event-ID": last_id}
    ) as response:
        assert (400, "Last-Event-ID") == (response.status, (await response.json(content_type=None))["field"])
    status, problem = await control.get("events/stream", after=last_id)
    assert (400, "after") == (status, problem["field"])


async def test_only_so_many_readers_are_served(control: ControlReads, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused; one that leaves makes room."""
    monkeypatch.setattr(events, "MAX_STREAMS", 1)
    async with event_source(control.session, control.url) as source:
        await source.wait_for_id()
        status, problem = await control.get("events/stream")
    assert (503, "too_many_streams") == (status, problem["code"])

    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with control.session.get(f"{control.url}/api/v1/events/stream") as response:
                if response.status == 200:
                    break


@pytest.mark.parametrize("path", ["events.csv", "events/stream"])
async def test_what_is_streamed_has_no_head(control: ControlReads, path: str) -> None:
    """A body after a HEAD would be taken for the next answer."""
    async with control.session.head(f"{control.url}/api/v1/{path}") as response:
        assert 405 == response.status


async def test_a_stream_ends_in_time_to_be_asked_for_again(
    control: ControlReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that ended cannot read on for ever; a reader that may goes on without loss."""
    start = (await control.get("events"))[1]["stream_cursor"]
    with monkeypatch.context() as patch:
        patch.setattr(events, "MAX_STREAM_S", 0.1)
        async with event_source(control.session, control.url, after=start) as source:
            assert [] == [message async for message in source.messages() if message.event == "enforcement"]
    await control.streams.add(request="next")
    async with event_source(control.session, control.url, last_id=source.last_id, after=start) as source:
        assert ["next"] == ids(await source.enforcement(1))


async def test_a_closing_control_plane_ends_its_streams(control: ControlReads) -> None:
    """It does not wait for readers who never leave."""
    async with event_source(control.session, control.url) as source:
        await source.wait_for_id()
        control.closing = True

        assert [] == [message async for message in source.messages() if message.event == "enforcement"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_a_hostile_name_stays_in_its_field(control: ControlReads, name: str) -> None:
    """Nothing in a name can end a line of the stream."""
    control.rule_set = rules(template(name, 1))
    async with event_source(control.session, control.url) as source:
        await source.wait_for_id()
        await control.check(name, 2, tier=name)
        (message,) = await source.enforcement(1)

    assert (name, name) == (message.data["user_id"], message.data["tier"])


async def test_line_ends_of_a_foreign_writer_stay_in_their_field(control: ControlReads) -> None:
    """What no sidecar lets in is harmless all the same."""
    wild = "a\r\ndata: {}\n\nevent: rules\u2028"
    async with event_source(control.session, control.url) as source:
        await source.wait_for_id()
        await control.streams.add(user=wild, request="first")
        await control.streams.add(request="second", partition=1)
        found = await source.enforcement(2)

    assert [wild, "alice"] == [message.data["user_id"] for message in found]


async def test_a_lost_store_is_told_and_the_stream_goes_on_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser gives up for ever on an error status: the stream stays, and misses nothing."""
    monkeypatch.setattr(event_stream, "STORE_PAUSE_S", 0.01)

    async def no_sidecars() -> dict[str, object]:
        return {}

    with store_process() as store:
        client = connect(store.url, StoreTimeouts(connect_ms=1000, command_ms=2000))
        log = EventLog(client, "lost")
        sources = LiveSources(log=log, revision=lambda: 1, sidecars=no_sidecars)
        feed = LiveFeed(sources, EVERYTHING, after=await log.newest(), clock=asyncio.get_running_loop().time)
        blocks = feed.blocks()
        await read_until(blocks, b"event: sidecars")
        store.kill()
        gone = await read_until(blocks, b"event: store")
        store.start()
        back = await read_until(blocks, b"event: store")
        await blocks.aclose()
        await client.aclose()

    assert b'{"reachable":false,"code":"store_unavailable"}' in gone
    assert b'{"reachable":true}' in back


async def read_until(blocks: AsyncIterator[bytes], wanted: bytes) -> bytes:
    """Return the first block that has what is wanted."""
    async for block in blocks:
        if wanted in block:
            return block
    raise AssertionError("a feed never ends")
