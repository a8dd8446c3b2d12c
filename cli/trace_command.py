"""`spendgate trace generate`: writes a made-up trace to standard output."""

import argparse
import sys

from cli.arguments import Subcommands, at_least_one
from cli.trace import generate_trace, trace_lines


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("trace", allow_abbrev=False, help="make traces for `spendgate replay`")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    generate = actions.add_parser("generate", allow_abbrev=False, help="print a made-up trace as CSV")
    generate.add_argument("--calls", type=at_least_one, required=True, help="how many calls")
    generate.add_argument("--seed", type=int, required=True, help="the same seed makes the same trace")
    generate.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the trace."""
    sys.stdout.writelines(trace_lines(generate_trace(arguments.calls, arguments.seed)))
    return 0
