"""What a check and a user cost in the store's memory: ``python -m bench.memory``. Bytes by MEMORY USAGE."""

import asyncio
import statistics
import tempfile
import uuid
from pathlib import Path

import redis.asyncio as redis

from bench.baselines import bench_plan
from cli.embedded import EmbeddedStore
from ledger.decisions import Operation
from ledger.operations import Admission, sent_text
from ledger.redis_ledger import RedisLedger

CHECKS = 5_000
USERS = 500
BATCH = 50
KINDS = ("request", "counter")


async def measure(url: str) -> dict[str, float]:
    """Return the mean bytes of a check's record and of a user's counter, by the name of the key."""
    async with redis.Redis.from_url(url) as client:
        ledger, plan = RedisLedger(client, workspace="default"), bench_plan()
        for start in range(0, CHECKS, BATCH):
            await ledger.admit(
                [
                    Admission(
                        operation=Operation.CHECK,
                        plan=plan,
                        request_id=str(uuid.uuid4()),
                        user_id=f"user-{number % USERS}",
                        amount_nanos=125_000,
                        sent=sent_text(Operation.CHECK, "pro", "125000", 0),
                        not_after_ms=plan.valid_until_ms,
                    )
                    for number in range(start, start + BATCH)
                ]
            )
        sizes: dict[str, list[int]] = {kind: [] for kind in KINDS}
        async for key in client.scan_iter(count=1000):
            kind = key.decode().split(":")[3]
            if kind in sizes:
                sizes[kind].append(await client.memory_usage(key, samples=0))
        return {kind: statistics.mean(values) for kind, values in sizes.items()}


def main() -> None:
    """Measure over an embedded store and print."""
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, EmbeddedStore.start(Path(name) / "store") as store:
        sizes = asyncio.run(measure(store.url))
    print(f"bytes: a check's record {sizes['request']:.0f} (kept 48 h), a counter {sizes['counter']:.0f}")


if __name__ == "__main__":
    main()
