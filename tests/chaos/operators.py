"""Operators who change rules through several control planes at once, and know which of their changes were accepted."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import aiohttp

OPERATORS_OF_EACH: Final = 2
PAUSE_S: Final = 0.02
FINISHED_WITHIN_S: Final = 60.0
FASTER: Final = frozenset({409, 412})
"""Somebody else was first: look at the rule anew."""


class Operators:
    """Two at each control plane; each raises the limit of some rule by a dollar, time and again, as he last saw it.

    So the limit of a rule that began at nothing is the number of its accepted changes, unless one overwrote another.
    `accepted` and `unsure` have the notes of changes that were answered with yes, and with nothing that tells.
    """

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], rng: random.Random) -> None:
        self.accepted: list[str] = []
        self.unsure: list[str] = []
        self.refused = 0
        self._session = session
        self._urls = list(urls)
        self._rng = rng
        self._numbers = iter(range(1_000_000))
        self._stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def working(self, rule_ids: Sequence[str]) -> AsyncIterator[None]:
        """Change rules until the block ends; what is asked then is answered."""
        async with asyncio.TaskGroup() as group:
            for url in self._urls * OPERATORS_OF_EACH:
                group.create_task(self._work(url, rule_ids))
            try:
                yield
            finally:
                self._stop.set()

    async def wait_for(self, count: int) -> None:
        """Wait until so many more changes were accepted."""
        goal = len(self.accepted) + count
        async with asyncio.timeout(FINISHED_WITHIN_S):
            while len(self.accepted) < goal:  # noqa: ASYNC110 - what is awaited sends no event
                await asyncio.sleep(PAUSE_S)

    async def _work(self, url: str, rule_ids: Sequence[str]) -> None:
        while not self._stop.is_set():
            note = f"change-{next(self._numbers)}"
            try:
                await self._raise_limit(f"{url}/templates/{self._rng.choice(rule_ids)}", note)
            except (aiohttp.ClientError, OSError):
                self.unsure.append(note)
            await asyncio.sleep(PAUSE_S)

    async def _raise_limit(self, url: str, note: str) -> None:
        async with self._session.get(url) as response:
            if response.status != 200:
                return
            row: dict[str, Any] = await response.json()
        changed = {name: row[name] for name in ("key", "window", "action")} | {"limit_usd": row["limit_usd"] + 1}
        headers = {"If-Match": f'"{row["revision"]}"'}
        async with self._session.put(url, json={**changed, "change_note": note}, headers=headers) as response:
            if response.status == 200:
                self.accepted.append(note)
            elif response.status in FASTER:
                self.refused += 1
            else:
                self.unsure.append(note)
