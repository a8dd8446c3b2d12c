"""The counters and tier totals of a workspace as they are stored, to see whether a request changed any."""

from typing import Final

import redis

BATCH: Final = 1000


class StoredCounters:
    """Reads every ``counter:`` and ``tier:`` text of a workspace's first partition."""

    def __init__(self, client: "redis.Redis", workspace: str) -> None:
        self._client = client
        self._prefix = f"sg:{workspace}:{{0}}:".encode()

    def read(self) -> dict[bytes, bytes]:
        """Return each, by key."""
        keys = [key for key in self._keys() if key.removeprefix(self._prefix).startswith((b"counter:", b"tier:"))]
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        return dict(zip(keys, pipeline.execute(), strict=True))

    def forget_all(self) -> None:
        """Delete everything that was stored for users, so that a reading stays short.

        What the store says of its own past stays: a sidecar would take it for a loss, and bring everything back.
        """
        keys = [key for key in self._keys() if key != self._prefix + b"lineage"]
        if keys:
            self._client.delete(*keys)

    def _keys(self) -> list[bytes]:
        return sorted(self._client.scan_iter(match=self._prefix + b"*", count=BATCH))
