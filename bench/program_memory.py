"""What calls of users with overrides of their own leave to others: ``python -m bench.program_memory``, for a minute.

In turns: 1,000 users of one tier, then the same users with an override each (of 100,000), over another sidecar and the
same store, then the first again. Prints the store's CPU a check and the memory of its programs after each turn.
"""

import tempfile
from pathlib import Path
from typing import Final

import redis

from bench.http_check import pin
from bench.suite.rule_sets import LARGE_OVERRIDES, rules
from bench.suite.scenarios import case
from bench.suite.subjects import running_sidecar, running_store

SECONDS: Final = 1.0
TURNS: Final = ("plain",) * 4 + ("overridden",) * 4 + ("plain",) * 4


def main() -> None:
    """Measure and print."""
    pin(-1)
    with (
        tempfile.TemporaryDirectory(prefix="sg-bench-") as name,
        running_store(Path(name) / "store") as store,
        running_sidecar(Path(name) / "plain", store.url, rules()) as plain,
        running_sidecar(Path(name) / "overridden", store.url, rules(LARGE_OVERRIDES)) as overridden,
        redis.Redis.from_url(store.url) as client,
    ):
        cases = {
            "plain": case(plain, store, SECONDS, {}),
            "overridden": case(overridden, store, SECONDS, {}),
        }
        for turn in TURNS:
            seen = cases[turn]()
            kept_kib = client.info("memory")["used_memory_vm_functions"] >> 10
            print(
                f"{turn}: {seen['per_second']:,.0f} checks a second, "
                f"{seen['store_cpu_us']:.1f} us of the store a check, {seen['server_cpu_us']:.1f} us of the sidecar, "
                f"programs {kept_kib:,} KiB, {client.dbsize():,} keys",
                flush=True,
            )


if __name__ == "__main__":
    main()
