"""`spendgate doctor`: says what about a store is safe for money, and what is not."""

import argparse
import asyncio
import json
from typing import Final

from cli.arguments import Subcommands, add_json_argument
from cli.failure import CommandFailed
from cli.store_arguments import add_store_arguments, store_of
from ledger.connection import StoreTimeouts, connect, stored_partitions
from ledger.errors import LedgerError
from ledger.store_checks import Finding, ServerState, findings, read_states

TIMEOUTS: Final = StoreTimeouts(connect_ms=2000, command_ms=5000)


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "doctor", allow_abbrev=False, help="say what about the store is safe for money and what is not"
    )
    add_store_arguments(parser)
    add_json_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look and print; 1 when something is unsafe."""
    url, workspace = store_of(arguments)
    try:
        states, partitions = asyncio.run(_look(url, workspace))
    except (LedgerError, ValueError) as error:
        raise CommandFailed(str(error)) from error
    found = findings(states)
    print(json.dumps(_document(states, partitions, found)) if arguments.json else _text(states, partitions, found))
    return 1 if any(finding.is_unsafe for finding in found) else 0


async def _look(url: str, workspace: str) -> tuple[list[ServerState], int | None]:
    client = connect(url, TIMEOUTS)
    try:
        return await read_states(client), await stored_partitions(client, workspace)
    finally:
        await client.aclose()


def _text(states: list[ServerState], partitions: int | None, found: list[Finding]) -> str:
    head = "workspace: new" if partitions is None else f"workspace: {partitions} partitions"
    lines = [f"{'UNSAFE' if finding.is_unsafe else 'advice'}: {finding}" for finding in found]
    return "\n".join(
        [*[str(state) for state in states], head, *lines, "" if lines else "nothing to complain of"]
    ).rstrip()


def _document(states: list[ServerState], partitions: int | None, found: list[Finding]) -> dict[str, object]:
    return {
        "servers": [str(state) for state in states],
        "partitions": partitions,
        "findings": [
            {"server": each.server, "reason": each.reason, "unsafe": each.is_unsafe, "message": each.message}
            for each in found
        ],
    }
