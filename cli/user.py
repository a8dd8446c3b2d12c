"""`spendgate user export USER`, `spendgate user erase USER`: what the store has of one user, as a file or no more."""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from cli.arguments import Subcommands
from cli.failure import CommandFailed, WrongUsage
from ledger.connection import StoreClient, StoreTimeouts, connect, stored_partitions
from ledger.errors import InvalidInput, LedgerError
from ledger.keys import WORKSPACE_PATTERN
from ledger.names import parse_name
from ledger.rule_parsing import dump_rule
from ledger.rule_store import RuleStore
from ledger.user_data import UserReader
from ledger.user_erasure import Erasure, UserEraser
from ledger.user_export import export_document

TIMEOUTS: Final = StoreTimeouts(connect_ms=2000, command_ms=30_000)
MAX_NOTE_LENGTH: Final = 500
PRIVATE_MODE: Final = 0o600

Result = TypeVar("Result")


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the commands to the command line."""
    parser = commands.add_parser("user", allow_abbrev=False, help="export or erase what the store has of one user")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    export = actions.add_parser(
        "export", allow_abbrev=False, help="write everything that the store has of a user as JSON"
    )
    export.add_argument("--output", type=Path, metavar="FILE", help="write to a new file that only you may read")
    export.set_defaults(run=run_export)
    erase = actions.add_parser(
        "erase", allow_abbrev=False, help="give what a user has spent a random name, and delete the user's events"
    )
    erase.add_argument("--note", required=True, help="why, for the enforcement log; do not name the user")
    erase.add_argument("--yes", action="store_true", help="do not ask whether it is meant")
    erase.set_defaults(run=run_erase)
    for action in (export, erase):
        action.add_argument("user", help="the user's id")
        action.add_argument("--redis-url", default=os.environ.get("SPENDGATE_REDIS_URL"), help="[SPENDGATE_REDIS_URL]")
        action.add_argument(
            "--workspace",
            default=os.environ.get("SPENDGATE_WORKSPACE", "default"),
            help="[SPENDGATE_WORKSPACE, default: default]",
        )


def run_export(arguments: argparse.Namespace) -> int:
    """Write one JSON document."""
    user_id, workspace = _subject(arguments)

    async def export(client: StoreClient) -> dict[str, Any]:
        reader = UserReader(client, workspace, await _partitions(client, workspace))
        book = await RuleStore(client, workspace=workspace).load()
        rules = book.rule_set().overrides.get(user_id, ())
        document = export_document(await reader.read(user_id))
        return {
            **document,
            "workspace": workspace,
            "rules": [dump_rule(rule, book.workspace.calendar) for rule in rules],
        }

    body = orjson.dumps(_run(arguments, export), option=orjson.OPT_INDENT_2) + b"\n"
    if arguments.output is None:
        sys.stdout.write(body.decode())
        return 0
    try:
        with os.fdopen(os.open(arguments.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE), "wb") as file:
            file.write(body)
    except OSError as error:
        raise CommandFailed(f"{arguments.output} cannot be written: {error.strerror}") from error
    print(f"written to {arguments.output}")
    return 0


def run_erase(arguments: argparse.Namespace) -> int:
    """Erase, and say what was done."""
    user_id, workspace = _subject(arguments)
    if not arguments.note.strip() or len(arguments.note) > MAX_NOTE_LENGTH:
        raise WrongUsage(f"--note must have 1 to {MAX_NOTE_LENGTH} characters")
    if user_id in arguments.note:
        raise WrongUsage("--note names the user; it stays in the enforcement log")
    if not arguments.yes:
        _ask(user_id)

    async def erase(client: StoreClient) -> tuple[Erasure, int]:
        partitions = await _partitions(client, workspace)
        rule_set = (await RuleStore(client, workspace=workspace).load()).rule_set()
        eraser = UserEraser(client, workspace, partitions)
        return await eraser.erase(user_id, actor=_actor(), note=arguments.note), len(
            rule_set.overrides.get(user_id, ())
        )

    erasure, rules = _run(arguments, erase)
    print(
        f"erased: {erasure.counters} counters and {erasure.records} records have a random name, "
        f"{erasure.events} events are deleted"
    )
    if rules:
        print(f"{rules} rules still name the user: delete the overrides on the page; their trail is bounded by itself")
    print("journals of sidecars and SDKs keep up to 24 hours of calls on their own disks; see docs/privacy.md")
    return 0


def _subject(arguments: argparse.Namespace) -> tuple[str, str]:
    if not arguments.redis_url:
        raise WrongUsage("no store: pass --redis-url or set SPENDGATE_REDIS_URL")
    if not WORKSPACE_PATTERN.fullmatch(arguments.workspace):
        raise WrongUsage("--workspace must be 1 to 64 of a-z, 0-9 and -")
    try:
        return parse_name(arguments.user, field="USER"), arguments.workspace
    except InvalidInput as error:
        raise WrongUsage(error.message) from error


def _ask(user_id: str) -> None:
    if not sys.stdin.isatty():
        raise WrongUsage("this cannot be taken back: say --yes where nobody can be asked")
    if input(f"Erase {user_id!r}? It cannot be taken back. Write the user's id to go on: ") != user_id:
        raise CommandFailed("nothing was changed")


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


async def _partitions(client: StoreClient, workspace: str) -> int:
    partitions = await stored_partitions(client, workspace)
    if partitions is None:
        raise CommandFailed(f"the store has no workspace {workspace}")
    return partitions


def _run(arguments: argparse.Namespace, work: Callable[[StoreClient], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        client = connect(arguments.redis_url, TIMEOUTS)
        try:
            return await work(client)
        finally:
            await client.aclose()

    try:
        return asyncio.run(run())
    except (LedgerError, ValueError) as error:
        raise CommandFailed(str(error)) from error
