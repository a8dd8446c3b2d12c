"""Following the log: nothing is lost or repeated, whatever is trimmed, wiped or written late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest

from ledger.connection import StoreTimeouts, connect
from ledger.errors import StoreUnavailable
from ledger.event_filter import EVERYTHING, EventFilter
from ledger.event_log import MAX_FOLLOWED_PARTITIONS, EventLog, LogNotFollowable, NewEvents
from ledger.events import Event, Position, StreamCursor
from tests.support.event_streams import EventStreams, event_streams

PARTITIONS = 3
FAST_S = 0.001
DEADLINE_S = 60.0


@pytest.fixture
async def streams(store_url: str) -> AsyncIterator[EventStreams]:
    """An empty log of one partition."""
    async with event_streams(store_url) as streams:
        yield streams


@pytest.fixture
async def three(store_url: str) -> AsyncIterator[EventStreams]:
    """An empty log of three partitions."""
    async with event_streams(store_url, partitions=PARTITIONS) as streams:
        yield streams


def requests(events: tuple[Event, ...] | list[Event]) -> list[str]:
    """Return the request ids of events."""
    return [event.request_id for event in events]


async def follow_until(
    log: EventLog,
    is_enough: Callable[[list[tuple[Event, StreamCursor]]], bool],
    event_filter: EventFilter = EVERYTHING,
    *,
    after: StreamCursor | None = None,
) -> list[tuple[Event, StreamCursor]]:
    """Follow the log until what was found is enough; the test's own timeout bounds it."""
    found: list[tuple[Event, StreamCursor]] = []
    async for news in log.follow(event_filter, after=after, poll_s=FAST_S):
        found += news.events
        if is_enough(found):
            break
    return found


async def first_look(log: EventLog, **options: StreamCursor) -> NewEvents:
    """Return the first look of a follower."""
    async for news in log.follow(poll_s=FAST_S, **options):
        return news
    raise AssertionError("a follower never ends")


async def scatter(streams: EventStreams, count: int) -> list[str]:
    """Write events over all partitions, many in the same millisecond; returns their requests in the log's order."""
    random, numbers = Random(7), dict.fromkeys(range(PARTITIONS), (1000, -1))
    written: list[tuple[Position, str]] = []
    for number in range(count):
        partition = random.randrange(PARTITIONS)
        ms, last = numbers[partition]
        step = random.choice((0, 0, 1))
        numbers[partition] = (ms + step, last + 1 if step == 0 else 0)
        position = Position(*numbers[partition], partition)
        await streams.add(f"{position.ms}-{position.number}", partition=partition, request=f"r-{number}")
        written.append((position, f"r-{number}"))
    return [request for _, request in sorted(written)]


async def test_a_follower_sees_what_comes_and_nothing_before(streams: EventStreams) -> None:
    """Without a cursor it starts now."""
    await streams.add_many(3)
    follower = streams.log.follow(poll_s=FAST_S)
    assert () == (await anext(follower)).events
    await streams.add(request="new")
    found = [news.events async for news in until_found(follower)]

    assert ["new"] == [event.request_id for events in found for event, _ in events]


async def until_found(follower: AsyncIterator[NewEvents]) -> AsyncIterator[NewEvents]:
    """Pass looks on until the first that found something."""
    async for news in follower:
        yield news
        if news.events:
            return


async def test_following_from_a_page_goes_on_without_gap_or_repetition(three: EventStreams) -> None:
    """Events are written all the time while the page is read and the follower starts."""
    writing = asyncio.create_task(scatter(three, 300))
    async with asyncio.timeout(DEADLINE_S):
        while not (await three.log.page()).events:
            pass
    page = await three.log.page(limit=1000)
    found = await follow_until(three.log, lambda found: len(found) + len(page.events) >= 300, after=page.newest)
    expected = await writing

    seen = requests(page.events)[::-1] + requests([event for event, _ in found])
    assert sorted(expected) == sorted(seen)


async def test_a_follower_resumes_behind_any_event(three: EventStreams) -> None:
    """Whichever event was the last that arrived, the next is the one behind it."""
    start = await three.log.newest()
    expected = await scatter(three, 60)
    found = await follow_until(three.log, lambda found: len(found) == 60, after=start)
    assert expected == requests([event for event, _ in found])

    for number in range(0, 60, 7):
        cursor = three.log.parse_cursor(found[number][1].text, field="cursor")
        news = await first_look(three.log, after=cursor)
        assert expected[number + 1 :] == requests([event for event, _ in news.events])


async def test_catching_up_keeps_the_order_over_partitions(three: EventStreams) -> None:
    """A partition with more than one look can read holds back what the others have behind that."""
    start = await three.log.newest()
    await three.add_many(1200, partition=0, first_ms=1000)
    await three.add_many(10, partition=1, first_ms=1495)
    found = await follow_until(three.log, lambda found: len(found) == 1210, after=start)
    positions = [event.position for event, _ in found]

    assert sorted(positions) == positions


async def test_a_follower_moves_on_over_events_it_does_not_want(streams: EventStreams) -> None:
    """The cursor stands behind all that was looked at."""
    start = await streams.log.newest()
    await streams.add_many(5)
    async for news in streams.log.follow(EventFilter(text="nothing"), after=start, poll_s=FAST_S):
        assert ((), ((1004, 0),)) == (news.events, news.cursor.ids)
        break


async def test_a_cursor_ahead_of_a_wiped_log_sees_the_new_events(streams: EventStreams) -> None:
    """After a loss of data ids start anew; a follower must not wait for its old ones."""
    ahead = StreamCursor(((9_000_000_000_000, 0),))
    follower = streams.log.follow(after=ahead, poll_s=FAST_S)
    await anext(follower)
    await streams.add(request="after the loss")
    found = [news.events async for news in until_found(follower)]

    assert ["after the loss"] == [event.request_id for events in found for event, _ in events]


async def test_a_follower_is_told_when_it_missed_what_was_trimmed(streams: EventStreams) -> None:
    """Only once, and only if its cursor lies before the oldest event that is left."""
    start = await streams.log.newest()
    await streams.add_many(10)
    await streams.client.xtrim(streams.key(), maxlen=4, approximate=False)
    follower = streams.log.follow(after=start, poll_s=FAST_S)

    assert [True, False] == [(await anext(follower)).missed, (await anext(follower)).missed]
    assert not (await first_look(streams.log, after=StreamCursor(((1006, 0),)))).missed


async def test_a_log_of_very_many_partitions_is_not_followed(store_url: str) -> None:
    """Its cursor would not fit in a header; pages still work."""
    async with event_streams(store_url, partitions=MAX_FOLLOWED_PARTITIONS + 1) as streams:
        await streams.add(partition=MAX_FOLLOWED_PARTITIONS, request="last")

        assert ["last"] == requests((await streams.log.page()).events)
        with pytest.raises(LogNotFollowable):
            await first_look(streams.log)


async def test_a_store_that_is_gone_is_an_error_of_its_own() -> None:
    """Neither a page nor a follower hangs or shows an empty log."""
    client = connect("unix:///nowhere/at-all", StoreTimeouts())
    log = EventLog(client, "gone")

    with pytest.raises(StoreUnavailable):
        await log.page()
    with pytest.raises(StoreUnavailable):
        await first_look(log)
    await client.aclose()
