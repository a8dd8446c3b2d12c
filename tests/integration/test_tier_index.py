"""The index of tiers: which tiers were ever sent, without reading the keys of their totals."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import redis.asyncio

from ledger.windows import WindowType
from tests.support.ledger_under_test import HOUR_MS, NOON_MS, Caller, nanos, rules
from tests.support.ledgers import ClockedRedisLedger
from tests.support.redis_under_test import redis_under_test

MONTH_END_MS = 1_769_904_000_000
"""2026-02-01 00:00 UTC, twelve hours from the start of each test; its week ends a day later."""

DAY_MS = 24 * HOUR_MS
HOSTILE_TIER = "a:b{c}:day:1:2:'\"<script>\u202e"


@dataclass(slots=True)
class TierIndex:
    """A caller of a ledger, and the index as it is stored."""

    caller: Caller
    ledger: ClockedRedisLedger

    async def read(self) -> dict[str, int]:
        """Return the tiers and their scores."""
        rows = await self.ledger.client.zrange(self.ledger.keys.tiers, 0, -1, withscores=True)
        return {tier.decode(): int(score) for tier, score in rows}


@pytest.fixture
async def index(store_url: str) -> AsyncIterator[TierIndex]:
    """A fresh ledger whose clock is at 2026-01-31 12:00 UTC, and its empty index."""
    async with redis.asyncio.Redis.from_url(store_url) as client:
        under_test = await redis_under_test(client)
        assert isinstance(under_test.ledger, ClockedRedisLedger)
        yield TierIndex(Caller(under_test, rules()), under_test.ledger)


async def test_a_tier_is_noted_under_the_end_of_its_latest_window(index: TierIndex) -> None:
    """The first call of a tier enters it and the users without a template; Sunday's week ends last."""
    await index.caller.check(1, tier="pro")

    assert {"pro": MONTH_END_MS + DAY_MS, "*": MONTH_END_MS + DAY_MS} == await index.read()


async def test_a_tier_may_look_like_a_key(index: TierIndex) -> None:
    """Colons, braces and what looks like a window stay part of the tier."""
    await index.caller.check(1, tier=HOSTILE_TIER)

    assert {HOSTILE_TIER, "*"} == set(await index.read())


async def test_later_calls_of_a_window_write_nothing(index: TierIndex) -> None:
    """The index costs a call only when it makes a total: an emptied one stays empty."""
    await index.caller.check(1, tier="pro")
    await index.ledger.client.delete(index.ledger.keys.tiers)
    await index.caller.check(1, tier="pro")
    held = await index.caller.reserve(1, tier="pro")
    await index.caller.settle(held.request_id, 2)

    assert {} == await index.read()


async def test_the_next_window_notes_it_again(index: TierIndex) -> None:
    """The end that is kept is that of the latest window, here of February."""
    await index.caller.check(1, tier="pro")
    await index.caller.pass_time(13)
    await index.caller.check(1, tier="pro")
    february = next(entry for entry in index.caller.plan().counters if entry.window.type is WindowType.MONTH)

    assert february.window.end_s * 1000 == (await index.read())["pro"]


async def test_a_reconstructed_settle_notes_its_tier(index: TierIndex) -> None:
    """A total that only a settle makes is found as well."""
    await index.caller.settle("lost", 1, tier="late", reserved_at_ms=NOON_MS)

    assert {"late", "*"} == set(await index.read())


async def test_an_adjustment_notes_the_tier_it_is_given(index: TierIndex) -> None:
    """And none without one."""
    await index.caller.adjust(1)
    assert {} == await index.read()

    await index.caller.adjust(1, tier="corrected")
    assert {"corrected", "*"} == set(await index.read())


async def test_a_tier_that_is_not_sent_any_more_leaves(index: TierIndex) -> None:
    """35 days after its last window, with its totals."""
    await index.caller.check(1, tier="old")
    await index.caller.pass_time(37 * 24)
    await index.caller.check(1, tier="new")

    assert {"new", "*"} == set(await index.read())


async def test_the_index_expires_with_its_last_total(index: TierIndex) -> None:
    """A workspace that nobody uses any more leaves nothing behind."""
    await index.caller.check(1, tier="pro")

    assert 0 < await index.ledger.client.pttl(index.ledger.keys.tiers) <= 70 * DAY_MS


async def test_a_broken_index_costs_no_charge(index: TierIndex) -> None:
    """A key of another type in its place cannot end a script between the money and its record."""
    await index.ledger.client.set(index.ledger.keys.tiers, "not a sorted set")
    first = await index.caller.check(1, tier="pro", request_id="once")
    again = await index.caller.check(1, tier="pro", request_id="once")

    assert (False, True) == (first.replayed, again.replayed)
    assert nanos(1) == (await index.caller.counter()).spend_nanos
