"""Callers under whom things break: they go on calling, and what they were not told exactly they ask again by its id."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.chaos.lines import Line
from tests.chaos.truth import CHECK, NANOS, RESERVE, Deal, Truth
from tests.support.apps import Answer

TIER: Final = "free"
USERS: Final = 40
CALLERS: Final = 24
PAUSE_S: Final = 0.01
LONGEST_PAUSE_S: Final = 0.5
"""Who asks again and again for the same waits twice as long each time: else a busy machine never gets to the answer."""
FINISHED_WITHIN_S: Final = 60.0
RESERVE_SHARE: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How callers call. Each rests for `pause_s` between two calls.

    Without a number of `users` each call has a user of its own. A share of what they ask is given up at random moments
    before the answer; it is asked again like all that has no exact answer.
    """

    callers: int = CALLERS
    users: int | None = USERS
    reserve_share: float = RESERVE_SHARE
    pause_s: float = 0.0
    give_up_share: float = 0.0


class Load:
    """Calls through sidecars, by several callers at once; `truth` is what they know. `urls` may change meanwhile.

    `given_up` counts those of all `asked` whose answer nobody waited for.
    """

    def __init__(
        self,
        line: Line,
        urls: Sequence[str],
        rng: random.Random,
        habits: Habits,
        *,
        truth: Truth | None = None,
    ) -> None:
        self.truth = truth or Truth()
        self.urls = list(urls)
        self.asked = 0
        self.given_up = 0
        self._last_took_s = 0.0
        self._line = line
        self._rng = rng
        self._habits = habits
        self._stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Call until the block ends; those under way are answered, not those without an exact answer."""
        self._stop.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._habits.callers):
                group.create_task(self._call_on())
            try:
                yield self
            finally:
                self._stop.set()

    async def wait_for(self, count: int) -> None:
        """Wait until so many more calls were answered exactly."""
        goal = self.truth.answers["exact"] + count
        await self.until(lambda: self.truth.answers["exact"] >= goal)

    async def until(self, is_so: Callable[[], bool], *, within_s: float = FINISHED_WITHIN_S) -> None:
        """Wait for something that the callers bring about; `TimeoutError` if they do not."""
        async with asyncio.timeout(within_s):
            while not is_so():  # noqa: ASYNC110 - what is awaited sends no event
                await asyncio.sleep(PAUSE_S)

    async def finish(self) -> None:
        """Ask again, by the same ids, for whatever has no exact answer yet, until all have one.

        Raises `AssertionError` with such a call and its last answer if that takes too long.
        """
        left = [deal for deal in self.truth.deals.values() if not deal.is_done]
        open_deals = iter(left)

        async def work() -> None:
            for deal in open_deals:
                pause_s = PAUSE_S
                while not await self.advance(deal):
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

        try:
            async with asyncio.timeout(FINISHED_WITHIN_S), asyncio.TaskGroup() as group:
                for _ in range(self._habits.callers):
                    group.create_task(work())
        except TimeoutError:
            left = [deal for deal in left if not deal.is_done]
            raise AssertionError(f"{len(left)} calls have no exact answer, one of them {left[:1]}") from None

    async def reserve(self) -> Deal:
        """Reserve for a new deal, and leave it there."""
        deal = self._new_deal()
        if not await self._admit(deal):
            raise AssertionError("a reserve was not answered exactly")
        return deal

    async def _call_on(self) -> None:
        while not self._stop.is_set():
            is_done = await self.advance(self._new_deal())
            await asyncio.sleep(self._habits.pause_s if is_done else max(PAUSE_S, self._habits.pause_s))

    def _new_deal(self) -> Deal:
        number, users = len(self.truth.deals), self._habits.users
        deal = Deal(
            request_id=f"deal-{number}",
            user_id=f"user-{number if users is None else self._rng.randrange(users)}",
            operation=RESERVE if self._rng.random() < self._habits.reserve_share else CHECK,
            estimate_nanos=self._rng.randrange(1, 5_000_000),
            actual_nanos=self._rng.randrange(1, 5_000_000),
        )
        self.truth.deals[deal.request_id] = deal
        return deal

    async def advance(self, deal: Deal) -> bool:
        """Go as far with a deal as exact answers carry; says whether it is done."""
        if not deal.is_admitted and not await self._admit(deal):
            return False
        if not deal.is_done and await self._ask(deal, "settle", {"cost_usd": deal.actual_nanos / NANOS}):
            deal.is_done, deal.acknowledged_nanos = True, deal.charged_nanos
        return deal.is_done

    async def _admit(self, deal: Deal) -> bool:
        name = "cost_usd" if deal.operation == CHECK else "estimate_usd"
        if not await self._ask(deal, deal.operation, {"tier": TIER, name: deal.estimate_nanos / NANOS}):
            return False
        deal.is_admitted = True
        deal.is_done = deal.operation == CHECK
        deal.acknowledged_nanos = deal.charged_nanos if deal.is_done else 0
        return True

    async def _ask(self, deal: Deal, call: str, fields: dict[str, Any]) -> bool:
        url = self._rng.choice(self.urls)
        answer = await self._answer(url, call, {"user_id": deal.user_id, "request_id": deal.request_id, **fields})
        is_exact = self.truth.note(deal, answer, time.monotonic(), url)
        if is_exact and answer is not None and not answer.document["allowed"]:
            raise AssertionError(f"a limit that is far away was reached: {answer.document}")
        return is_exact

    async def _answer(self, url: str, call: str, body: dict[str, Any]) -> Answer | None:
        """Return the answer; None if there was none, or nobody waited for it."""
        patience_s = self._patience_s()
        self.asked += 1
        asked_s = time.monotonic()
        try:
            async with asyncio.timeout(patience_s):
                answer = await self._line.ask(url, call, body)
        except TimeoutError:
            self.given_up += patience_s is not None
        except (aiohttp.ClientError, OSError):
            pass
        else:
            self._last_took_s = time.monotonic() - asked_s
            return answer
        return None

    def _patience_s(self) -> float | None:
        """Return how long to wait for the next answer; None, as long as it takes.

        Who is impatient waits for less than the last answer took, so some calls are given up before they were sent, and
        some while they are answered. Others are answered before: who comes next is impatient for them.
        """
        if self.given_up >= self._habits.give_up_share * self.asked:
            return None
        return self._rng.uniform(0.0, self._last_took_s)
