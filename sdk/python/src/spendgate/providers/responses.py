"""The HTTP responses behind the providers' answers, watched while they are read.

Every way of reading a stream (the provider's ``Stream``, its raw and streaming responses, ``iter_lines`` and so on)
reads the response's ``iter_bytes`` or ``aiter_bytes`` and ends with its ``close`` or ``aclose``. A watched response is
the provider's own object, of a subclass that tells a tap what passes there. No transport and no client is touched.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from spendgate.providers.outcomes import Outcome
from spendgate.providers.taps import Tap

WATCH: Final = "_spendgate_watch"


class Watch:
    """One response under watch. `conclude` is called once, when nothing more will be read.

    `is_pulling`: the reader waits for the next bytes, so a close is the response's own, at its end; what was kept of it
    is still to be read.
    """

    def __init__(self, tap: Tap, conclude: Callable[[Outcome], Any]) -> None:
        self.tap = tap
        self.is_pulling = False
        self._conclude: Callable[[Outcome], Any] | None = conclude

    def end(self) -> Any:
        """Conclude, unless that was done or the reader is in the middle of it; returns what `conclude` returns."""
        conclude = self._conclude
        if self.is_pulling or conclude is None:
            return None
        self._conclude = None
        return conclude(self.tap.outcome())


def watch(response: Any, tap: Tap, conclude: Callable[[Outcome], None]) -> None:
    """Watch a response that is not read yet."""
    setattr(response, WATCH, Watch(tap, conclude))
    response.__class__ = _watched(_class_of(response), is_async=False)


def watch_async(response: Any, tap: Tap, conclude: Callable[[Outcome], Awaitable[None]]) -> None:
    """Watch a response that is read by awaiting."""
    setattr(response, WATCH, Watch(tap, conclude))
    response.__class__ = _watched(_class_of(response), is_async=True)


def _class_of(response: object) -> type:
    return type(response)


@lru_cache(maxsize=16)
def _watched(kind: type, *, is_async: bool) -> type:
    """Return the watched kind of a response class; it goes by the same name."""
    reading = {"aiter_bytes": _aiter_bytes(kind), "aclose": _aclose(kind)}
    body = {
        **(reading if is_async else {"iter_bytes": _iter_bytes(kind), "close": _close(kind)}),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind,), body)


def _iter_bytes(kind: Any) -> Callable[..., Iterator[bytes]]:
    def iter_bytes(self: Any, chunk_size: int | None = None) -> Iterator[bytes]:
        watched: Watch = getattr(self, WATCH)
        chunks = kind.iter_bytes(self, chunk_size)
        try:
            while True:
                watched.is_pulling = True
                try:
                    chunk = next(chunks, None)
                except BaseException:
                    watched.is_pulling = False
                    yield from _given(watched.tap.flush())
                    raise
                watched.is_pulling = False
                if chunk is None:
                    break
                yield from _given(watched.tap.feed(chunk))
            yield from _given(watched.tap.flush())
        finally:
            chunks.close()
            watched.end()

    return iter_bytes


def _aiter_bytes(kind: Any) -> Callable[..., AsyncIterator[bytes]]:
    async def aiter_bytes(self: Any, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        watched: Watch = getattr(self, WATCH)
        chunks = kind.aiter_bytes(self, chunk_size)
        try:
            while True:
                watched.is_pulling = True
                try:
                    chunk = await anext(chunks, None)
                except BaseException:
                    watched.is_pulling = False
                    for rest in _given(watched.tap.flush()):
                        yield rest
                    raise
                watched.is_pulling = False
                if chunk is None:
                    break
                for passed in _given(watched.tap.feed(chunk)):
                    yield passed
            for rest in _given(watched.tap.flush()):
                yield rest
        finally:
            await chunks.aclose()
            await _finished(watched.end())

    return aiter_bytes


def _close(kind: Any) -> Callable[[Any], None]:
    def close(self: Any) -> None:
        try:
            kind.close(self)
        finally:
            getattr(self, WATCH).end()

    return close


def _aclose(kind: Any) -> Callable[[Any], Awaitable[None]]:
    async def aclose(self: Any) -> None:
        try:
            await kind.aclose(self)
        finally:
            await _finished(getattr(self, WATCH).end())

    return aclose


def _given(chunk: bytes) -> tuple[bytes, ...]:
    return (chunk,) if chunk else ()


async def _finished(ending: Awaitable[None] | None) -> None:
    if ending is not None:
        await ending
