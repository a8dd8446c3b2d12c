"""A receiver of webhooks: keeps what comes, and answers what the test wants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

DEADLINE_S = 60.0


@dataclass(slots=True)
class Receiver:
    """`statuses` are answered one after the other, then 200 for ever; `messages` were answered with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    attempts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def notes(self) -> list[dict[str, Any]]:
        """The notes of all messages, in the order of their arrival."""
        return [note for message in self.messages for note in message["notes"]]

    async def handle(self, request: web.Request) -> web.Response:
        """Take a message."""
        body = await request.read()
        status = self.statuses.pop(0) if self.statuses else 200
        async with self._arrived:
            self.attempts.append((dict(request.headers), body))
            if status == 200:
                self.messages.append(orjson.loads(body))
            self._arrived.notify_all()
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    async def until(self, *, notes: int = 0, attempts: int = 0) -> None:
        """Wait until so much has come."""
        async with asyncio.timeout(DEADLINE_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.notes) >= notes and len(self.attempts) >= attempts)


@contextlib.asynccontextmanager
async def webhook_receiver() -> AsyncIterator[Receiver]:
    """Listen on a free loopback port."""
    receiver = Receiver()
    app = web.Application()
    app.add_routes([web.post("/", receiver.handle)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield receiver
    finally:
        await runner.cleanup()
