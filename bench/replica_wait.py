"""What `wait_for_replica` costs: checks one after another and 32 at a time, with the rule and without it.

Run it as ``python -m bench.replica_wait``.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.support.apps import Call, ask, open_session
from tests.support.books import new_workspace
from tests.support.processes import running_sidecar, template, write_rules
from tests.support.servers import sentinel_store

ALONE = 500
CROWD = 3000
AT_A_TIME = 32


def main() -> None:
    """Measure and print a table."""
    with sentinel_store(None, "--appendonly", "yes") as store, tempfile.TemporaryDirectory() as name:
        rules = write_rules(
            Path(name) / "rules.yaml", template("sure", 1000000, wait_for_replica=True), template("free", 1000000)
        )
        settings = {"workspace": new_workspace(), "deadline_ms": 2000, "command_timeout_ms": 1000}
        with running_sidecar(Path(name), store.url, rules, **settings) as sidecar:
            print("| rule | callers | p50 | p99 |\n|---|---|---|---|")
            for tier, label in (("free", "without"), ("sure", "wait_for_replica")):
                for callers, count in ((1, ALONE), (AT_A_TIME, CROWD)):
                    times = asyncio.run(_measure(f"{sidecar.url}/v1/check", tier, callers, count))
                    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
                    print(f"| {label} | {callers} | {p50 * 1000:.2f} ms | {p99 * 1000:.2f} ms |")


async def _measure(url: str, tier: str, callers: int, count: int) -> list[float]:
    calls = iter([_call(url, tier, number) for number in range(count)])
    times: list[float] = []

    async def work() -> None:
        for call in calls:
            started = time.perf_counter()
            answer = await ask(session, *call)
            times.append(time.perf_counter() - started)
            if not answer.is_exact:
                raise RuntimeError(f"not exact: {answer.document}")

    async with open_session() as session, asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(work())
    return times


def _call(url: str, tier: str, number: int) -> Call:
    return url, {"user_id": f"{tier}-{number % 50}", "tier": tier, "cost_usd": 0.0001}


if __name__ == "__main__":
    sys.exit(main())
