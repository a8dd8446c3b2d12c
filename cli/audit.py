"""`spendgate audit`: recomputes the ledger's counters from its records, says what differs, and puts it right."""

import argparse
import dataclasses
import json
from collections.abc import Sequence

from cli.arguments import Subcommands, add_json_argument
from cli.failure import CommandFailed, WrongUsage
from cli.store_arguments import add_store_arguments, store_of
from ledger.audit import AuditReport, audit
from ledger.audit_difference import Difference
from ledger.errors import LedgerError
from ledger.money import usd_text
from ledger.repairs import RepairReport, repair

BUSY = "the workspace is written to all the time: stop its sidecars, or repeat this when it is quiet"


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "audit", allow_abbrev=False, help="recompute the counters from the records and list differences"
    )
    add_store_arguments(parser)
    parser.add_argument("--repair", action="store_true", help="list what would put the counters right; changes nothing")
    parser.add_argument("--yes", action="store_true", help="with --repair: do it")
    add_json_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Audit or repair, and print; 1 when something differs."""
    url, workspace = store_of(arguments)
    if arguments.yes and not arguments.repair:
        raise WrongUsage("--yes goes with --repair")
    try:
        if arguments.repair:
            return _tell_repair(repair(url, workspace, apply=arguments.yes), arguments)
        report = audit(url, workspace)
    except (LedgerError, ValueError) as error:
        raise CommandFailed(str(error)) from error
    print(json.dumps(_document(report)) if arguments.json else "\n".join(report.lines))
    return 1 if report.differences else 0


def _tell_repair(report: RepairReport, arguments: argparse.Namespace) -> int:
    lines = [line for correction in report.corrections for line in correction.lines]
    if report.is_busy:
        raise CommandFailed("\n".join([*_done(lines, is_done=True), BUSY]))
    after = report.after
    if arguments.json:
        document = {"repaired" if after else "would_repair": lines, "left": list(map(_difference, report.left))}
        print(json.dumps(document | ({"after": _document(after)} if after else {})))
    else:
        left = [f"left: {difference}" for difference in report.left]
        print(
            "\n".join(
                [*_done(lines, is_done=arguments.yes), *left, *(after.lines[:1] + after.lines[-1:] if after else [])]
            )
        )
    return 1 if (after.differences if after else lines or report.left) else 0


def _done(lines: Sequence[str], *, is_done: bool) -> list[str]:
    head = f"{len(lines)} figures {'were put right' if is_done else 'would be put right; --yes does it'}"
    return [*lines, head if lines else "nothing to put right"]


def _document(report: AuditReport) -> dict[str, object]:
    """Return the report's JSON form, amounts as exact decimal strings."""
    document = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    document["differences"] = [_difference(difference) for difference in report.differences]
    document["held_usd"] = usd_text(document.pop("held_nanos"))
    document["charged_usd"] = usd_text(document.pop("charged_nanos"))
    return document


def _difference(difference: Difference) -> dict[str, str]:
    return {
        "what": difference.what,
        "relation": difference.relation,
        "expected_usd": usd_text(difference.expected_nanos),
        "found_usd": usd_text(difference.found_nanos),
    }
