"""`spendgate demo`: a sidecar over an empty store, a budget day replayed through it, the outcome, the audit."""

import argparse
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console

from cli.arguments import Subcommands, at_least_one
from cli.failure import CommandFailed
from cli.population import Population, TierShares
from cli.replay import ReplayPlan, print_report, run_replay
from cli.replay_calls import TokenPrices
from cli.replay_command import DEFAULT_TIERS
from cli.store_socket import choose_socket_path
from cli.tether import tie_to_parent
from cli.up import store_dir
from ledger.audit import audit
from ledger.errors import LedgerError

DEFAULT_PORT: Final = 8787
DEFAULT_ADMIN_PORT: Final = 9797
DEFAULT_PAGE_PORT: Final = 8788
DEFAULT_PAGE_ADMIN_PORT: Final = 9798
READY_DEADLINE_S: Final = 30.0
STOP_DEADLINE_S: Final = 20.0
POLL_INTERVAL_S: Final = 0.05
WORKSPACE: Final = "demo"
LOG_TAIL_LINES: Final = 10

SEED: Final = 32  # A crowd whose busiest users are of all three tiers.
USERS: Final = 40
CONCURRENCY: Final = 16
MAX_OUTPUT_TOKENS: Final = 1024
PRICES: Final = TokenPrices(input_nanos=2_500_000_000, output_nanos=10_000_000_000)

WHAT_NEXT: Final = """\
What next:
  make run                 a sidecar on 127.0.0.1:8787 that stays, with the budgets of config/budgets.example.yaml
  make replay-real TRACE=F replay a trace of your own through two sidecars, and audit
  .venv/bin/spendgate explain user-42 --tier free    which budgets hold for a user, and why
  .venv/bin/spendgate usage user-42 --tier free      what the user spent, and what is left
  .venv/bin/spendgate rules validate F               check a rule file of your own"""


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "demo", allow_abbrev=False, help="replay a budget day through a sidecar of its own, and audit it"
    )
    parser.add_argument("--rules", type=Path, default=Path("config/demo-budgets.yaml"), help="the budgets")
    parser.add_argument("--trace", type=Path, default=Path("config/demo-trace.csv"), help="the calls")
    parser.add_argument("--sidecars", type=at_least_one, default=1, help="sidecars over one store [1]")
    parser.add_argument("--users", type=at_least_one, default=USERS, help=f"users the calls are spread over [{USERS}]")
    parser.add_argument(
        "--concurrency", type=at_least_one, default=CONCURRENCY, help=f"calls in flight [{CONCURRENCY}]"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the demo; 1 when a call failed or the audit found a difference."""
    for file in (arguments.rules, arguments.trace):
        if not file.is_file():
            raise CommandFailed(
                f"{file} is not here: run the demo in a checkout, or name files with --rules and --trace"
            )
    console = Console()
    with tempfile.TemporaryDirectory(prefix="spendgate-demo-") as name:
        data_dir = Path(name)
        with running_sidecars(data_dir, arguments.rules, arguments.sidecars) as urls:
            console.print(
                f"Running on {' and '.join(urls)} with the budgets of {arguments.rules}.",
                highlight=False,
                soft_wrap=True,
            )
            report = run_replay(_plan(arguments, urls), console)
            print_report(report, console)
            differences = _audit(data_dir, console, settled_nanos=report.total.settled_nanos)
    console.print(f"The sidecars and their store have ended.\n\n{WHAT_NEXT}", highlight=False, soft_wrap=True)
    return 1 if report.total.failed or differences else 0


@contextlib.contextmanager
def running_sidecars(data_dir: Path, rules: Path, count: int) -> Iterator[list[str]]:
    """Run `spendgate up` over a data directory, and more sidecars over its store; yield their URLs, then end all."""
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(_running("up", data_dir, rules, {"SPENDGATE_EMBEDDED": "1"}))]
        store = {"SPENDGATE_REDIS_URL": f"unix://{choose_socket_path(store_dir(data_dir))}"}
        for number in range(2, count + 1):
            own_dir = data_dir / f"sidecar-{number}"
            own_dir.mkdir()
            urls.append(stack.enter_context(_running("sidecar", own_dir, rules, store)))
        yield urls


@contextlib.contextmanager
def _running(command: str, data_dir: Path, rules: Path, more: dict[str, str]) -> Iterator[str]:
    """Run one sidecar, yield its URL when it is ready, and end it."""
    port, admin_port = free_port(DEFAULT_PORT), free_port(DEFAULT_ADMIN_PORT)
    page_port, page_admin_port = free_port(DEFAULT_PAGE_PORT), free_port(DEFAULT_PAGE_ADMIN_PORT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPENDGATE_")}
    environment |= {
        "SPENDGATE_DATA_DIR": str(data_dir),
        "SPENDGATE_RULES": str(rules),
        "SPENDGATE_WORKSPACE": WORKSPACE,
        "SPENDGATE_PORT": str(port),
        "SPENDGATE_ADMIN_PORT": str(admin_port),
        "SPENDGATE_CONTROL_PORT": str(page_port),
        "SPENDGATE_CONTROL_ADMIN_PORT": str(page_admin_port),
        **more,
    }
    logfile = data_dir / "up.log"
    with logfile.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a command of ours
            [sys.executable, "-m", "cli.main", command],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=tie_to_parent(),  # noqa: PLW1509 - the demo has no threads
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{admin_port}/readyz", logfile)
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def free_port(preferred: int) -> int:
    """Return `preferred` if nobody listens there, else a port that the system says is free."""
    for port in (preferred, 0):
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            candidate.bind(("127.0.0.1", port))
            bound: int = candidate.getsockname()[1]
            return bound
    raise CommandFailed("no free port on 127.0.0.1")


def _plan(arguments: argparse.Namespace, urls: list[str]) -> ReplayPlan:
    return ReplayPlan(
        trace=arguments.trace,
        urls=urls,
        population=Population(users=arguments.users, zipf=1.1, tiers=TierShares.parse(DEFAULT_TIERS), seed=SEED),
        prices=PRICES,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        run_id=f"demo-{secrets.token_hex(4)}",
        concurrency=arguments.concurrency,
    )


def _audit(data_dir: Path, console: Console, *, settled_nanos: int) -> int:
    """Audit the demo's ledger, print the report and return the number of differences.

    One more than the audit's own: the ledger's charges must be what the replay settled.
    """
    socket_path = choose_socket_path(store_dir(data_dir))
    try:
        report = audit(f"unix://{socket_path}", WORKSPACE)
    except LedgerError as error:
        raise CommandFailed(f"the audit failed: {error}") from error
    console.print("\nThe audit recomputes every counter from the records of the calls:", highlight=False)
    for line in report.lines:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    is_equal = report.charged_nanos == settled_nanos
    verdict = "equals" if is_equal else "DIFFERS FROM"
    console.print(f"  what the replay settled {verdict} what the ledger charged", highlight=False)
    return len(report.differences) + (not is_equal)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, logfile: Path) -> None:
    deadline = time.monotonic() + READY_DEADLINE_S
    while not _is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(logfile.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            raise CommandFailed(f"the sidecar did not start:\n{tail}")
        time.sleep(POLL_INTERVAL_S)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0):  # noqa: S310 - a fixed http address of ours
            return True
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
