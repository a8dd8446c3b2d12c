"""`spendgate journal`: what the journals of a data directory hold, and all of it brought to a store."""

import argparse
import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from cli.arguments import Subcommands, add_json_argument
from cli.failure import CommandFailed, WrongUsage
from cli.store_arguments import add_store_arguments, store_of
from ledger.connection import StoreTimeouts, connect, stored_partitions
from ledger.errors import LedgerError
from ledger.redis_ledger import RedisLedger
from ledger.windows import rfc3339
from sidecar.journal_files import journal_directories
from sidecar.journal_report import JournalReport, inspect_journal, replay_directory

TIMEOUTS = StoreTimeouts(connect_ms=2000, command_ms=10_000)


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command and its two parts to the command line."""
    parser = commands.add_parser("journal", allow_abbrev=False, help="look into a sidecar's journal, or replay it")
    parts = parser.add_subparsers(required=True, metavar="PART")
    inspect = parts.add_parser("inspect", allow_abbrev=False, help="what it holds, what waits, and what is damaged")
    replay = parts.add_parser("replay", allow_abbrev=False, help="bring all of it to the store; what is there stays")
    for part, run in ((inspect, run_inspect), (replay, run_replay)):
        part.add_argument(
            "--data-dir",
            type=Path,
            default=Path(os.environ.get("SPENDGATE_DATA_DIR", ".spendgate")),
            help="the sidecar's data directory [SPENDGATE_DATA_DIR, default: .spendgate]",
        )
        add_json_argument(part)
        part.set_defaults(run=run)
    add_store_arguments(replay)


def run_inspect(arguments: argparse.Namespace) -> int:
    """Print what the journals hold; 1 where something is damaged that is no torn end."""
    try:
        reports = [inspect_journal(directory) for directory in _journals(arguments)]
    except OSError as error:
        raise CommandFailed(str(error)) from error
    print(json.dumps([_document(report) for report in reports]) if arguments.json else "\n".join(map(_text, reports)))
    return 1 if any("torn end" not in damage for report in reports for damage in report.damages) else 0


def run_replay(arguments: argparse.Namespace) -> int:
    """Bring everything to the store and print what came of it; 1 if something could not be done."""
    url, workspace = store_of(arguments)
    directories = _journals(arguments)
    try:
        results = asyncio.run(_replay(url, workspace, directories))
    except (LedgerError, OSError) as error:
        raise CommandFailed(str(error)) from error
    told = ", ".join(f"{number} {result}" for result, number in sorted(results.items())) or "nothing to replay"
    print(json.dumps(results) if arguments.json else told)
    return 1 if results["conflict"] or results["missing"] else 0


async def _replay(url: str, workspace: str, directories: list[Path]) -> Counter[str]:
    client = connect(url, TIMEOUTS)
    results: Counter[str] = Counter()
    try:
        partitions = await stored_partitions(client, workspace)
        ledger = RedisLedger(client, workspace=workspace, partitions=partitions or 1)
        for directory in directories:
            results += await replay_directory(directory, ledger)
    finally:
        await client.aclose()
    return results


def _journals(arguments: argparse.Namespace) -> list[Path]:
    directories = journal_directories(arguments.data_dir)
    if not directories:
        raise WrongUsage(f"{arguments.data_dir} has no journal; name the sidecar's directory with --data-dir")
    return directories


def _text(report: JournalReport) -> str:
    span = "nothing"
    if report.oldest_ms is not None and report.newest_ms is not None:
        span = f"{rfc3339(report.oldest_ms)} to {rfc3339(report.newest_ms)}"
    lines = [
        f"{report.directory}: {report.files} files, {report.size} bytes, {span}",
        f"  acknowledged: {_counts(report.done)}",
        f"  waiting for the store: {_counts(report.open)}",
        *[f"  {damage}" for damage in report.damages],
    ]
    if report.unreadable:
        lines.append(f"  {report.unreadable} entries or operations cannot be read")
    return "\n".join(lines)


def _counts(counts: "Counter[Any]") -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "nothing"


def _document(report: JournalReport) -> dict[str, object]:
    return {
        "directory": str(report.directory),
        "files": report.files,
        "bytes": report.size,
        "oldest": None if report.oldest_ms is None else rfc3339(report.oldest_ms),
        "newest": None if report.newest_ms is None else rfc3339(report.newest_ms),
        "acknowledged": dict(report.done),
        "waiting": dict(report.open),
        "damages": report.damages,
        "unreadable": report.unreadable,
    }
