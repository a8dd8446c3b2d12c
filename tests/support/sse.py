"""A reader of server-sent events, as a browser reads them (WHATWG HTML, section 9.2.6)."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson


@dataclass(frozen=True, slots=True)
class Message:
    """One dispatched event; `last_id` is what the browser would send back as Last-Event-ID after it."""

    event: str
    data: Any
    last_id: str


class EventSource:
    """One connection; `last_id` moves with every block that has an id, dispatched or not."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.last_id = ""

    async def messages(self) -> AsyncIterator[Message]:
        """Yield dispatched events until the stream ends."""
        event, data = "", []
        while line := await self._response.content.readline():
            text = line.decode().rstrip("\n")
            name, _, value = text.partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                self.last_id = value
            elif not text:
                if data:
                    yield Message(event or "message", orjson.loads("\n".join(data)), self.last_id)
                event, data = "", []

    async def enforcement(self, count: int, *, last_request: str = "") -> list[Message]:
        """Return the next enforcement events, as many as are asked for, or up to that of the last request."""
        found: list[Message] = []
        async for message in self.messages():
            if message.event == "enforcement":
                found.append(message)
            if len(found) == count or (found and found[-1].data["request_id"] == last_request):
                break
        return found

    async def next(self, event: str) -> Message:
        """Return the next event of a name."""
        async for message in self.messages():
            if message.event == event:
                return message
        raise AssertionError(f"the stream ended before {event}")

    async def wait_for_id(self) -> str:
        """Return the first id, with or without an event."""
        while not self.last_id:
            line = (await self._response.content.readline()).decode()
            if not line:
                raise AssertionError("the stream ended before an id")
            if line.startswith("id: "):
                self.last_id = line.removeprefix("id: ").rstrip("\n")
        return self.last_id


@contextlib.asynccontextmanager
async def event_source(
    session: aiohttp.ClientSession, url: str, *, last_id: str = "", **parameters: str
) -> AsyncIterator[EventSource]:
    """Open a stream; on leaving, the connection is cut."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    async with session.get(f"{url}/api/v1/events/stream", headers=headers, params=parameters) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream"
        try:
            yield EventSource(response)
        finally:
            response.close()
