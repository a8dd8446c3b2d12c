"""Server-sent events, cut out of the bytes of an answer as they pass (WHATWG HTML, section 9.2.6)."""

import re
from dataclasses import dataclass
from typing import Final

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""An event that is longer passes unread."""

BOUNDARY: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it came, its boundary with it, and the payload of its data lines."""

    raw: bytes
    data: bytes


class EventCutter:
    """Takes chunks that may end anywhere and gives whole events."""

    def __init__(self) -> None:
        self._pending = b""
        self._searched = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes; what is left waits for its end."""
        text = self._pending + chunk
        events, start = [], 0
        # A boundary may have begun in the last three bytes that were searched before.
        for match in BOUNDARY.finditer(text, max(0, self._searched - 3)):
            raw = text[start : match.end()]
            events.append(Event(raw, _data(raw)))
            start = match.end()
        self._pending = text[start:]
        self._searched = len(self._pending)
        if self._searched > MAX_EVENT_BYTES:
            events.append(Event(self.flush(), b""))
        return events

    def flush(self) -> bytes:
        """Return what has no end yet, and forget it."""
        pending, self._pending, self._searched = self._pending, b"", 0
        return pending


def _data(raw: bytes) -> bytes:
    lines = raw.splitlines()
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
