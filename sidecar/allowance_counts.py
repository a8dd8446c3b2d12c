"""How much was taken from each allowance: a rule, a window, a user. Bounded; windows are forgotten as a whole."""

from collections.abc import Iterator, Sequence
from typing import Final

import orjson

MAX_COUNTS: Final = 100_000
"""Beyond them a user who is not counted yet is refused."""
ENDED_KEPT_S: Final = 48 * 3600
"""A window's counts outlive it, so that a clock that was ahead does not make an allowance whole again."""
ROWS_AN_ENTRY: Final = 500

Key = tuple[str, str, str]
"""Window code, rule id, user id."""


class AllowanceCounts:
    """Amounts are nano-USD."""

    def __init__(self) -> None:
        self._windows: dict[str, dict[tuple[str, str], int]] = {}
        self._size = 0

    def get(self, key: Key) -> int:
        """Return what was taken."""
        return self._windows.get(key[0], {}).get(key[1:], 0)

    def add(self, keys: Sequence[Key], nanos: int) -> None:
        """Change the counts of some keys by the same amount."""
        for key in keys:
            self._set(key, self.get(key) + nanos)

    def has_room(self, keys: Sequence[Key], now_ms: int) -> bool:
        """Say whether all keys may be counted; forgets windows that ended long ago if it must."""
        added = sum(key[1:] not in self._windows.get(key[0], {}) for key in keys)
        if added and self._size + added > MAX_COUNTS:
            self.forget_ended(now_ms)
        return added == 0 or self._size + added <= MAX_COUNTS

    def forget_ended(self, now_ms: int) -> None:
        """Forget windows that ended long ago."""
        oldest_s = now_ms // 1000 - ENDED_KEPT_S
        for window in [window for window in self._windows if int(window.rpartition(":")[2]) < oldest_s]:
            self._size -= len(self._windows.pop(window))

    def entry(self, keys: Sequence[Key]) -> bytes:
        """Return the counts of some keys, to be restored."""
        return orjson.dumps([(*key, self.get(key)) for key in keys])

    def entries(self) -> Iterator[bytes]:
        """Return all counts, to be restored."""
        rows = [(window, *pair, nanos) for window, counts in self._windows.items() for pair, nanos in counts.items()]
        return (orjson.dumps(rows[start : start + ROWS_AN_ENTRY]) for start in range(0, len(rows), ROWS_AN_ENTRY))

    def restore(self, entry: bytes) -> None:
        """Take over counts; they replace earlier ones of the same keys."""
        for *key, nanos in orjson.loads(entry):
            window, rule_id, user_id = key
            self._set((window, rule_id, user_id), nanos)

    def _set(self, key: Key, nanos: int) -> None:
        counts = self._windows.setdefault(key[0], {})
        before = len(counts)
        counts[key[1:]] = nanos
        self._size += len(counts) - before
