"""Flags of the commands that look into a store themselves: its URL and the workspace."""

import argparse
import os

from cli.failure import WrongUsage
from ledger.keys import WORKSPACE_PATTERN


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--redis-url`` and ``--workspace``."""
    parser.add_argument(
        "--redis-url", default=os.environ.get("SPENDGATE_REDIS_URL"), help="the store's URL [SPENDGATE_REDIS_URL]"
    )
    parser.add_argument(
        "--workspace",
        default=os.environ.get("SPENDGATE_WORKSPACE", "default"),
        help="the workspace [SPENDGATE_WORKSPACE, default: default]",
    )


def store_of(arguments: argparse.Namespace) -> tuple[str, str]:
    """Return URL and workspace; raises `WrongUsage`."""
    if not arguments.redis_url:
        raise WrongUsage("no store was named: pass --redis-url or set SPENDGATE_REDIS_URL")
    if not WORKSPACE_PATTERN.fullmatch(arguments.workspace):
        raise WrongUsage("--workspace must be 1 to 64 of a-z, 0-9 and -")
    return arguments.redis_url, arguments.workspace
