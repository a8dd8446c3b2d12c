"""The enforcement log on a real server: pages, filters and bounds."""

from collections.abc import AsyncIterator
from random import Random

import pytest

from ledger.event_filter import EVERYTHING, EventFilter
from ledger.event_log import EventLog, NewEvents
from ledger.events import ACTIONS, Event, Position, StreamCursor
from ledger.keys import partition_of
from ledger.moments import MAX_MOMENT_MS
from ledger.windows import Window, WindowType
from tests.support.event_streams import EventStreams, event_streams

PARTITIONS = 3
FAST_S = 0.001


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


async def all_pages(log: EventLog, event_filter: EventFilter = EVERYTHING, **bounds: int) -> list[Event]:
    """Read page after page to the log's end."""
    events: list[Event] = []
    page = await log.page(event_filter, **bounds)
    while page.next_before is not None:
        events += page.events
        page = await log.page(event_filter, before=page.next_before, **bounds)
    return [*events, *page.events]


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


async def test_an_empty_log_has_no_events(streams: EventStreams) -> None:
    """A workspace that never blocked anything has no stream yet."""
    page = await streams.log.page()

    assert ((), None, None, None, 0) == (
        page.events,
        page.next_before,
        page.scanned_to_ms,
        page.trimmed_before_ms,
        page.entries,
    )


async def test_an_event_has_every_field_that_was_written(streams: EventStreams) -> None:
    """What the script knew is what the page shows."""
    await streams.add("1000-2", meta='{"a":1}', outcomes="rule-1=block,rule-2=warn", held=7)
    (event,) = (await streams.log.page()).events

    assert event == Event(
        id="1000-2",
        position=Position(1000, 2, 0),
        type="blocked",
        at_ms=1000,
        user_id="alice",
        request_id="r-1",
        tier="free",
        rule_id="rule-1",
        window=Window(type=WindowType.DAY, start_s=1_769_817_600, end_s=1_769_904_000),
        reason="limit",
        amount_nanos=1_000_000_000,
        spend_nanos=5_000_000_000,
        held_nanos=7,
        limit_nanos=5_000_000_000,
        group="search",
        model="gpt-5",
        price_version="book 1",
        meta='{"a":1}',
        outcomes=(("rule-1", "block"), ("rule-2", "warn")),
    )


async def test_an_event_about_no_rule_has_no_amounts_of_one(streams: EventStreams) -> None:
    """A stopped workspace blocks without any rule."""
    await streams.add(rule="", window="", spend="", held="", limit="", outcomes="", tier="", model="")
    (event,) = (await streams.log.page()).events

    assert (None, None, None, None, ()) == (
        event.window,
        event.spend_nanos,
        event.held_nanos,
        event.limit_nanos,
        event.outcomes,
    )


async def test_an_event_of_a_newer_version_is_still_shown(streams: EventStreams) -> None:
    """Unknown types and fields do not stop the log."""
    await streams.add(type="teleported", destination="mars")

    assert ["teleported"] == [event.type for event in (await streams.log.page()).events]


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "", "at": "soon", "window": "day:1", "amount": "1e9", "spend": "much", "limit": "9" * 40},
        {"at": "9" * 400, "amount": "", "outcomes": "=,,a", "user": "x" * 9000},
        {"at": "x", "window": "day:1:99999999999999"},
        {"at": "-1", "window": "day:-9:5"},
        {"at": "", "window": "day:5:4"},
    ],
)
async def test_a_broken_entry_hides_no_other(streams: EventStreams, broken: dict[str, str]) -> None:
    """Whoever wrote it: it is shown as far as it can be read."""
    await streams.add("1000-0", request="before")
    await streams.client.xadd(streams.key(), {b"user": b"\xff\xfe", b"at": b"\xff"}, id="2000-0")
    await streams.add("3000-0", request="broken", **broken)
    await streams.add("4000-0", request="behind")
    events = await all_pages(streams.log, EventFilter(since_ms=0, until_ms=10_000))
    news = await first_look(streams.log, after=StreamCursor(((0, 0),)))

    assert ["behind", "broken", "", "before"] == requests(events)
    assert events == [event for event, _ in news.events][::-1]
    assert [4000, 3000, 2000, 1000] == [event.at_ms for event in events]


async def test_a_page_is_newest_first_and_the_next_goes_on_behind_it(streams: EventStreams) -> None:
    """Two pages of two, and the last without a cursor."""
    await streams.add_many(5)
    first = await streams.log.page(limit=2)
    second = await streams.log.page(limit=2, before=first.next_before)
    third = await streams.log.page(limit=2, before=second.next_before)

    assert [["r-4", "r-3"], ["r-2", "r-1"], ["r-0"]] == [requests(page.events) for page in (first, second, third)]
    assert third.next_before is None


@pytest.mark.parametrize("limit", [1, 7, 50, 1000])
async def test_pages_over_partitions_are_one_log(three: EventStreams, limit: int) -> None:
    """Every event once, in the order of time, whatever the partition and the size of a page."""
    expected = await scatter(three, 200)

    assert expected[::-1] == requests(await all_pages(three.log, limit=limit))


async def test_events_written_between_pages_do_not_move_the_next_page(streams: EventStreams) -> None:
    """A page starts where the last one ended, however many events come in between."""
    await streams.add_many(4)
    first = await streams.log.page(limit=2)
    await streams.add_many(3, first_ms=2000, request="new")
    second = await streams.log.page(limit=2, before=first.next_before)

    assert ["r-1", "r-0"] == requests(second.events)


@pytest.mark.parametrize(
    ("event_filter", "expected"),
    [
        (EventFilter(types=ACTIONS), ["r-6", "r-5", "r-4", "r-1", "r-0"]),
        (EventFilter(types=frozenset({"expired", "warned"})), ["r-3", "r-1"]),
        (EventFilter(user_id="bob"), ["r-2"]),
        (EventFilter(tier="pro"), ["r-3"]),
        (EventFilter(tier=""), ["r-4"]),
        (EventFilter(model="claude"), ["r-5"]),
        (EventFilter(group="chat"), ["r-3"]),
        (EventFilter(rule_id="rule-9"), ["r-6"]),
        (EventFilter(text="CLAUD"), ["r-5"]),
        (EventFilter(text="r-2"), ["r-2"]),
        (EventFilter(text="bo"), ["r-2"]),
        (EventFilter(text="held_cap"), ["r-6"]),
        (EventFilter(since_ms=5000), ["r-6", "r-5"]),
        (EventFilter(until_ms=1000), ["r-0"]),
        (EventFilter(since_ms=1000, until_ms=3000), ["r-2", "r-1"]),
        (EventFilter(user_id="alice", types=frozenset({"warned"})), ["r-1"]),
        (EventFilter(user_id="nobody"), []),
    ],
)
async def test_a_filter_shows_what_it_asks_for(
    streams: EventStreams, event_filter: EventFilter, expected: list[str]
) -> None:
    """Types, names, text in any case, and a span whose end is not in it."""
    changes: list[dict[str, str]] = [
        {},
        {"type": "warned"},
        {"type": "unpriced", "user": "bob"},
        {"type": "expired", "tier": "pro", "group": "chat"},
        {"tier": ""},
        {"model": "claude"},
        {"rule": "rule-9", "reason": "held_capacity"},
    ]
    for number, change in enumerate(changes):
        await streams.add(f"{max(1, number * 1000)}-0", request=f"r-{number}", **change)

    assert expected == requests((await streams.log.page(event_filter)).events)


async def test_the_largest_ids_are_ids_like_others(streams: EventStreams) -> None:
    """A foreign writer may take them: pages and followers go on behind them."""
    largest = f"{2**64 - 1}-{2**64 - 1}"
    await streams.add("1000-0", request="first")
    await streams.add(largest, request="last", at="x")
    first = await streams.log.page(limit=1)
    assert first.next_before is not None
    cursor = Position.parse(first.next_before.text, field="cursor")
    rest = await streams.log.page(before=cursor, max_scanned=1)
    after = streams.log.parse_cursor(first.newest.text, field="after")

    assert (["last"], ["first"]) == (requests(first.events), requests(rest.events))
    assert first.events[0].at_ms == MAX_MOMENT_MS
    assert () == (await first_look(streams.log, after=after)).events


async def test_nothing_stands_before_the_first_position(streams: EventStreams) -> None:
    """A page before it is empty, whoever asks for it."""
    await streams.add("1000-0")
    page = await streams.log.page(before=Position(0, 0, 0))

    assert ((), None) == (page.events, page.next_before)


async def test_an_entry_that_was_written_late_belongs_to_its_own_time(streams: EventStreams) -> None:
    """An id may be younger than its event, by a script's run; a span looks at the event."""
    await streams.add("5042-0", at=4999)
    await streams.add("70000-0", at=69_999)

    assert [4999] == [event.at_ms for event in (await streams.log.page(EventFilter(until_ms=5000))).events]
    assert [69_999] == [event.at_ms for event in (await streams.log.page(EventFilter(since_ms=69_999))).events]


async def test_a_page_reads_no_more_than_its_bound(streams: EventStreams) -> None:
    """A rare event behind many others: the page says how far it looked, and the next one goes on from there."""
    await streams.add("1-0", user="rare", request="found")
    await streams.add_many(300)
    rare = EventFilter(text="rare")
    page = await streams.log.page(rare, limit=5, max_scanned=100)

    assert ((), True) == (page.events, page.next_before is not None)
    assert page.scanned_to_ms is not None
    assert 1000 <= page.scanned_to_ms <= 1200
    assert ["found"] == requests(await all_pages(streams.log, rare, limit=5, max_scanned=100))


async def test_bounded_pages_over_partitions_lose_nothing(three: EventStreams) -> None:
    """Pages that give up in between still show every wanted event once and in order."""
    expected = [request for request in await scatter(three, 400) if request.endswith("7")]
    events = await all_pages(three.log, EventFilter(text="7"), limit=3, max_scanned=20)

    assert expected[::-1] == [request for request in requests(events) if request.endswith("7")]


async def test_a_users_events_are_looked_for_in_their_partition(three: EventStreams) -> None:
    """An event of this user in another partition was not written by the ledger and is not read."""
    home = partition_of("alice", PARTITIONS)
    await three.add(partition=home, request="home")
    await three.add(partition=(home + 1) % PARTITIONS, request="elsewhere")

    assert ["home"] == requests((await three.log.page(EventFilter(user_id="alice"))).events)


async def test_a_page_tells_what_was_trimmed(streams: EventStreams) -> None:
    """The oldest event that is left tells from when on the log is complete."""
    await streams.add_many(10)
    before = await streams.log.page()
    await streams.client.xtrim(streams.key(), maxlen=4, approximate=False)
    after = await streams.log.page()

    assert [(None, 10), (1006, 4)] == [(page.trimmed_before_ms, page.entries) for page in (before, after)]
