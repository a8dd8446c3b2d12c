"""`spendgate repartition`: gives a workspace more partitions, while nothing uses it."""

import argparse
import asyncio

from cli.arguments import Subcommands, at_least_one
from cli.failure import CommandFailed
from cli.store_arguments import add_store_arguments, store_of
from ledger.errors import LedgerError
from ledger.repartition import Repartitioning


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "repartition",
        allow_abbrev=False,
        help="give a workspace more partitions, offline, audited before and after; run again if interrupted",
    )
    add_store_arguments(parser)
    parser.add_argument("--to", type=at_least_one, required=True, metavar="PARTITIONS", help="how many it shall have")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it and say each step."""
    url, workspace = store_of(arguments)
    try:
        done = asyncio.run(_run(url, workspace, arguments.to))
    except (LedgerError, ValueError) as error:
        raise CommandFailed(str(error)) from error
    print(f"workspace {workspace} has {arguments.to} partitions{' (carried on)' if done else ''}: start sidecars and")
    print(f"control planes with --partitions {arguments.to}")
    return 0


async def _run(url: str, workspace: str, partitions: int) -> bool:
    return (await Repartitioning(url, workspace, partitions, print).run()).resumed
