"""`spendgate replay TRACE`: its flags, its table, its exit code."""

import argparse
import json
import secrets
from pathlib import Path
from typing import Final

from rich.console import Console

from cli.arguments import Subcommands, add_json_argument, add_url_argument, at_least_one, positive_number, usd_nanos
from cli.call_amounts import TokenPrices
from cli.failure import WrongUsage
from cli.population import Population, PopulationError, TierShares
from cli.replay import ReplayPlan, print_report, run_replay

RUN_ID_BYTES: Final = 4
DEFAULT_TIERS: Final = "free:0.7,pro:0.25,team:0.05"


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "replay", allow_abbrev=False, help="send the calls of a trace through a sidecar and report the outcome"
    )
    parser.add_argument("trace", type=Path, help="a CSV with the columns TIMESTAMP,ContextTokens,GeneratedTokens")
    add_url_argument(parser, several=True)
    parser.add_argument("--seed", type=int, default=1, help="decides who makes which call (default 1)")
    parser.add_argument("--users", type=at_least_one, default=200, help="how many users there are (default 200)")
    parser.add_argument("--zipf", type=positive_number, default=1.1, help="how unequal users are (default 1.1)")
    parser.add_argument("--tiers", default=DEFAULT_TIERS, help=f"each tier's share of users (default {DEFAULT_TIERS})")
    add_price_arguments(parser)
    parser.add_argument("--speed", type=positive_number, help="multiple of the trace's pace (default: no waiting)")
    parser.add_argument("--concurrency", type=at_least_one, default=64, help="calls at a time (default 64)")
    parser.add_argument("--limit", type=at_least_one, help="stop after this many calls")
    parser.add_argument(
        "--run-id", help="begins each request id; repeat one to send the same calls again (default random)"
    )
    add_json_argument(parser)
    parser.add_argument("--json-users", action="store_true", help="add each user's settled sum to --json")
    parser.set_defaults(run=run)


def add_price_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what prices a call."""
    parser.add_argument("--usd-per-million-input", type=usd_nanos, default="2.5", metavar="USD", help="default 2.5")
    parser.add_argument("--usd-per-million-output", type=usd_nanos, default="10", metavar="USD", help="default 10")
    parser.add_argument(
        "--max-output",
        type=at_least_one,
        default=1024,
        metavar="TOKENS",
        help="estimated for each answer (default 1024)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Replay and print; 1 when a call failed."""
    report = run_replay(_plan(arguments), Console(stderr=True))
    if arguments.json or arguments.json_users:
        print(json.dumps(report.document(with_users=arguments.json_users)))
    else:
        print_report(report, Console())
    return 1 if report.total.failed else 0


def _plan(arguments: argparse.Namespace) -> ReplayPlan:
    try:
        population = Population(
            users=arguments.users,
            zipf=arguments.zipf,
            tiers=TierShares.parse(arguments.tiers),
            seed=arguments.seed,
        )
    except PopulationError as error:
        raise WrongUsage(str(error)) from error
    return ReplayPlan(
        trace=arguments.trace,
        urls=[url for url in arguments.url.split(",") if url],
        population=population,
        prices=TokenPrices(input_nanos=arguments.usd_per_million_input, output_nanos=arguments.usd_per_million_output),
        max_output_tokens=arguments.max_output,
        run_id=arguments.run_id or f"replay-{secrets.token_hex(RUN_ID_BYTES)}",
        speed=arguments.speed,
        concurrency=arguments.concurrency,
        limit=arguments.limit,
    )
