"""How fast a sidecar answers while its store is gone, under each policy; writes ``bench/results/outage.json``.

The store is killed, the breakers open, then keep-alive connections ask in a closed loop, the sidecar on one core and
the load generator on the other; figures are medians over interleaved rounds. ``python -m bench.outage [--rounds 3]``.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
from pathlib import Path

from bench.http_check import RESULTS, ROOT, free_port, machine, measure, pin, server
from cli.embedded import EmbeddedStore

POLICIES = {"deny": "deny", "allow": "allow", "allow_up_to_usd": {"allow_up_to_usd": 8_000_000}}
CONNECTIONS = (1, 8, 32)
FIGURES = ("per_second", "p50_ms", "p99_ms", "max_ms")
Found = dict[str, dict[int, list[dict[str, float]]]]


def start_arguments(policy: object, port: int, redis_url: str, directory: Path) -> dict[str, str]:
    """Return the environment of a sidecar whose only rule has this policy."""
    directory.mkdir()
    rule = {"kind": "tier_template", "key": "pro", "limit_usd": 8_000_000, "on_store_failure": policy}
    rules = directory / "rules.json"
    rules.write_text(json.dumps({"rules": [rule]}))
    return {
        "SPENDGATE_REDIS_URL": redis_url,
        "SPENDGATE_RULES": str(rules),
        "SPENDGATE_DATA_DIR": str(directory / "sidecar"),
        "SPENDGATE_PORT": str(port),
        "SPENDGATE_ADMIN_PORT": "auto",
    }


def run_rounds(rounds: int, seconds: float) -> Found:
    """Return what callers saw, by policy and number of connections, round by round."""
    found: Found = {policy: {number: [] for number in CONNECTIONS} for policy in POLICIES}
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, contextlib.ExitStack() as stack:
        store = EmbeddedStore.start(Path(name) / "store")
        ports = {policy: free_port() for policy in POLICIES}
        for policy, document in POLICIES.items():
            environment = start_arguments(document, ports[policy], store.url, Path(name) / policy)
            stack.enter_context(server(["-m", "cli.main", "sidecar"], ports[policy], environment))
            measure(ports[policy], 1, 0.2)
        store.stop()
        for port in ports.values():
            measure(port, 1, 1.0)  # The breaker opens.
        for _ in range(rounds):
            for policy, port in ports.items():
                for number in CONNECTIONS:
                    found[policy][number].append(measure(port, number, seconds))
    return found


def summarize(found: Found) -> dict[str, dict[int, dict[str, float]]]:
    """Return medians over the rounds."""
    if any(entry["not_ok"] for series in found.values() for entries in series.values() for entry in entries):
        raise SystemExit("some answers were not OK; the figures would mean nothing")
    return {
        policy: {
            number: {figure: statistics.median(entry[figure] for entry in entries) for figure in FIGURES}
            for number, entries in series.items()
        }
        for policy, series in found.items()
    }


def show(summary: dict[str, dict[int, dict[str, float]]]) -> None:
    """Print the table."""
    print(f"{'policy':<18}{'connections':>12}{'answers/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for policy, series in summary.items():
        for number, figures in series.items():
            print(
                f"{policy:<18}{number:>12}{figures['per_second']:>12,.0f}{figures['p50_ms']:>9.2f}"
                f"{figures['p99_ms']:>9.2f}{figures['max_ms']:>9.2f}"
            )


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    pin(-1)
    summary = summarize(run_rounds(options.rounds, options.seconds))
    show(summary)
    path = RESULTS / "outage.json"
    path.write_text(json.dumps({"machine": machine(), "method": vars(options), "medians": summary}, indent=2) + "\n")
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
