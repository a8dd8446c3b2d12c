"""The load generator: ``python -m bench.suite.generator '<a load as JSON>'`` runs it and prints JSON."""

import contextlib
import gc
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench.suite.callers import Caller, make_caller, open_connection
from bench.suite.latency import Latencies
from bench.suite.loads import Load
from bench.suite.loops import Recorded, closed_loop, open_loop
from bench.suite.messages import Messages


@contextlib.contextmanager
def closing_caller(load: Load, number: int) -> Iterator[Caller]:
    """Provide a connection, and close it."""
    with open_connection(load.address) as connection:
        yield make_caller(load, number, connection)


def run(load: Load) -> dict[str, Any]:
    """Return operations a second, latencies and what the generator itself used."""
    messages = Messages(load, f"{time.time_ns():x}")
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(closing_caller(load, number)) for number in range(load.connections)]
        cpu_before_s = time.process_time()
        recorded = (closed_loop if load.rate_per_second is None else open_loop)(load, callers, messages)
        cpu_s = time.process_time() - cpu_before_s
    return summarize(recorded, cpu_s)


def summarize(recorded: Recorded, cpu_s: float) -> dict[str, Any]:
    """Return the figures of one run."""
    latencies, lateness = Latencies(), Latencies()
    latencies.add(recorded.latencies_s)
    lateness.add(recorded.lateness_s)
    late = {"sent_late_p99_ms": lateness.at_percentile_ms(99)} if lateness.count else {}
    return {
        "operations": latencies.count,
        "per_second": latencies.count / recorded.elapsed_s,
        "load_cpu_us": cpu_s * 1e6 / latencies.count,
        **latencies.summary(),
        **late,
    }


if __name__ == "__main__":
    gc.disable()  # A run makes no cycles, and a collection in the middle of it would be seen as latency.
    print(json.dumps(run(Load.of(json.loads(sys.argv[1])))))
