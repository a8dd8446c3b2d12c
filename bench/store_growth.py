"""What a check costs a store that grows, by its malloc: ``python -m bench.store_growth``, for about two minutes.

In turns: the wheel's server with the system's jemalloc, if there is one, the same with glibc's malloc, and the server
on PATH, each with a sidecar of its own. Each turn is a measured second of HTTP on 32 connections and a second of the
stream, which adds records faster.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest import mock

from bench.suite.rounds import Case
from bench.suite.rule_sets import rules
from bench.suite.scenarios import STREAM_64, case
from bench.suite.subjects import running_sidecar, running_store
from cli import embedded
from cli.embedded import EmbeddedStore
from cli.store_server import PRELOAD, find_jemalloc

ROUNDS: Final = 6
SECONDS: Final = 0.8
ON_PATH: Final = "redis-server"


@contextlib.contextmanager
def stores(directory: Path) -> Iterator[dict[str, EmbeddedStore]]:
    """Run the stores to compare; the one on PATH only where there is one."""
    with contextlib.ExitStack() as stack:
        running = {}
        if find_jemalloc():
            running["wheel, jemalloc"] = stack.enter_context(running_store(directory / "jemalloc"))
        with mock.patch.dict(os.environ, {PRELOAD: ""}):
            running["wheel, glibc"] = stack.enter_context(running_store(directory / "glibc"))
        if binary := shutil.which(ON_PATH):
            with mock.patch.object(embedded, "find_server_binary", return_value=binary):
                running[ON_PATH] = stack.enter_context(running_store(directory / "path"))
        yield running


def main() -> None:
    """Print the store's CPU microseconds a check, and how many records it has, after each turn."""
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, contextlib.ExitStack() as stack:
        directory, cases = Path(name), dict[str, tuple[Case, Case]]()
        for number, (kind, store) in enumerate(stack.enter_context(stores(directory)).items()):
            sidecar = stack.enter_context(running_sidecar(directory / f"sidecar-{number}", store.url, rules()))
            cases[kind] = case(sidecar, store, SECONDS, {}), case(sidecar, store, SECONDS, STREAM_64)
        records = dict.fromkeys(cases, 0)
        for _ in range(ROUNDS):
            for kind, (http, stream) in cases.items():
                measured, filled = http(), stream()
                records[kind] += measured["operations"] + filled["operations"]
                by_http, by_stream = measured["store_cpu_us"], filled["store_cpu_us"]
                print(f"{kind}: {records[kind]:,} records, {by_http:.1f} us a check, in large batches {by_stream:.1f}")


if __name__ == "__main__":
    main()
