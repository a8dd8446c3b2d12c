"""`spendgate demo`: a sidecar and the page over an empty store, a budget day replayed, the outcome, the audit."""

import argparse
import asyncio
import dataclasses
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from cli.arguments import Subcommands, at_least_one, positive_number
from cli.demo_processes import WORKSPACE, DemoProcesses, running_demo
from cli.drill import run_drill
from cli.failure import CommandFailed
from cli.population import Population, TierShares
from cli.replay import ReplayPlan, print_report, replay, run_replay
from cli.replay_command import DEFAULT_TIERS
from cli.store_socket import choose_socket_path, server_facts
from cli.up import store_dir
from ledger.audit import audit
from ledger.errors import LedgerError

SEED: Final = 32  # A crowd whose busiest users are of all three tiers.
USERS: Final = 40
CONCURRENCY: Final = 16
MAX_OUTPUT_TOKENS: Final = 1024
MODELS: Final = ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "gpt-4.1", "gpt-4o-2024-11-20")
"""Names as apps send them, of models that cost about the same; the sidecar prices them."""

STAYING_CALLERS: Final = 4
STAYING_SPEED: Final = 1.0

WHAT_NEXT: Final = """\
What next:
  make run                 a sidecar on 127.0.0.1:8787 and the page on 127.0.0.1:8788 that stay
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
    parser.add_argument("--prices", type=Path, default=Path("config/prices.json"), help="what models cost")
    parser.add_argument("--sidecars", type=at_least_one, default=1, help="sidecars over one store [1]")
    parser.add_argument("--users", type=at_least_one, default=USERS, help=f"users the calls are spread over [{USERS}]")
    parser.add_argument(
        "--concurrency", type=at_least_one, default=CONCURRENCY, help=f"calls in flight [{CONCURRENCY}]"
    )
    parser.add_argument(
        "--fail",
        type=positive_number,
        metavar="SECONDS",
        help="freeze the store for so long afterwards, and show what each rule's on_store_failure makes of it",
    )
    parser.add_argument(
        "--stay",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="keep the page, with calls coming in, until Ctrl-C [at a terminal]",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the demo; 1 when a call failed or the audit found a difference."""
    for file in (arguments.rules, arguments.trace, arguments.prices):
        if not file.is_file():
            raise CommandFailed(
                f"{file} is not here: run the demo in a checkout, or name files with --rules, --trace and --prices"
            )
    console = Console()
    with tempfile.TemporaryDirectory(prefix="spendgate-demo-") as name:
        data_dir = Path(name)
        with running_demo(data_dir, arguments.rules, arguments.sidecars, arguments.prices) as demo:
            _say(console, f"Running on {' and '.join(demo.urls)} with the budgets of {arguments.rules}.")
            _say(console, f"The Enforcement page: {demo.page_url}")
            plan = _plan(arguments, demo)
            report = run_replay(plan, console)
            print_report(report, console)
            differences = _audit(data_dir, console, settled_nanos=report.total.settled_nanos)
            faults = _drill(arguments.fail, demo, data_dir, console) if arguments.fail else []
            if sys.stdout.isatty() if arguments.stay is None else arguments.stay:
                _say(console, f"\nCalls go on coming in. Watch and edit them at {demo.page_url}; Ctrl-C ends the demo.")
                _stay(plan)
    _say(console, f"The sidecars, the page and their store have ended.\n\n{WHAT_NEXT}")
    return 1 if report.total.failed or differences or faults else 0


def _stay(plan: ReplayPlan) -> None:
    """Make the calls again and again at the trace's own pace, until Ctrl-C."""
    slow = dataclasses.replace(plan, speed=STAYING_SPEED, concurrency=STAYING_CALLERS)
    try:
        while True:
            again = dataclasses.replace(slow, run_id=f"demo-{secrets.token_hex(4)}")
            asyncio.run(replay(again, after_call=lambda: None))
    except KeyboardInterrupt:
        return


def _drill(seconds: float, demo: DemoProcesses, data_dir: Path, console: Console) -> list[str]:
    """Freeze the demo's store; return what should not have happened."""
    pid = int(server_facts(choose_socket_path(store_dir(data_dir)))["process_id"])
    faults = run_drill(demo.urls, pid, seconds, console)
    for fault in faults:
        _say(console, f"FAULT: {fault}")
    return faults


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def _plan(arguments: argparse.Namespace, demo: DemoProcesses) -> ReplayPlan:
    return ReplayPlan(
        trace=arguments.trace,
        urls=demo.urls,
        population=Population(users=arguments.users, zipf=1.1, tiers=TierShares.parse(DEFAULT_TIERS), seed=SEED),
        models=MODELS,
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
