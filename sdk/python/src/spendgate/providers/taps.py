"""What looks at the bytes of an answer while its reader reads them: nothing is read ahead, nothing is kept back.

The one exception: while a stream's usage is asked for on behalf of a caller who did not ask, events pass whole, and
the one that only carries the usage is left out.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from spendgate.providers.outcomes import LeaveToExpiry, Outcome, Settle, outcome_of_answer
from spendgate.providers.requests import UNKNOWN_MODEL, Request
from spendgate.providers.sse import Event, EventCutter
from spendgate.providers.stream_usage import StreamUsage
from spendgate.providers.tokens import CountTokens

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""A longer answer that is no stream is left to the expiry of its hold."""


class Tap(Protocol):
    """Sees every byte of one answer in its order."""

    def feed(self, chunk: bytes) -> bytes:
        """Return what the reader gets of `chunk`."""

    def flush(self) -> bytes:
        """Return what was kept of an unfinished event."""

    def outcome(self) -> Outcome:
        """Return what is known now that nothing more comes."""


class StreamTap:
    """Reads server-sent events."""

    def __init__(self, request: Request, count: CountTokens) -> None:
        self._request = request
        self._count = count
        self._cutter = EventCutter()
        self._account = StreamUsage()

    def feed(self, chunk: bytes) -> bytes:
        """Read the events that `chunk` completes."""
        events = self._cutter.feed(chunk)
        if not self._request.hides_usage:
            for event in events:
                self._read(event)
            return chunk
        return b"".join(event.raw for event in events if not self._read(event))

    def flush(self) -> bytes:
        """Return the beginning of an event whose end did not come."""
        rest = self._cutter.flush()
        return rest if self._request.hides_usage else b""

    def outcome(self) -> Outcome:
        """Charge what was reported, else what was streamed, unless more may have been made than was shown."""
        request, account = self._request, self._account
        estimate = request.estimate
        if estimate.model == UNKNOWN_MODEL and account.model:
            estimate = replace(estimate, model=account.model)
        reported = account.usage(request.endpoint.read_usage, estimate)
        if reported is not None:
            return Settle(reported)
        streamed = account.streamed(request.endpoint.read_usage, estimate, self._count)
        return LeaveToExpiry() if streamed is None or request.hides_output else Settle(streamed)

    def _read(self, event: Event) -> bool:
        """Take an event into account, and tell whether it carries nothing but the usage."""
        document = _document(event.data)
        if document is None:
            return False
        self._request.endpoint.take_event(self._account, document)
        return document.get("choices") == [] and bool(document.get("usage"))


class BodyTap:
    """Reads an answer that is one JSON document."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._chunks: list[bytes] = []
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        """Keep a copy."""
        self._size_bytes += len(chunk)
        if self._size_bytes <= MAX_BODY_BYTES:
            self._chunks.append(chunk)
        return chunk

    def flush(self) -> bytes:
        """Return nothing: nothing was kept from the reader."""
        return b""

    def outcome(self) -> Outcome:
        """Charge the document's usage, if it came whole."""
        whole = self._size_bytes <= MAX_BODY_BYTES
        return outcome_of_body(self._request, b"".join(self._chunks) if whole else b"")


def outcome_of_body(request: Request, body: bytes) -> Outcome:
    """Return the outcome of an answer's bytes."""
    document = _document(body)
    return LeaveToExpiry() if document is None else outcome_of_answer(request, document)


def _document(data: bytes) -> Mapping[str, Any] | None:
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        document = json.loads(data)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
