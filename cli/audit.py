"""`spendgate audit`: recomputes the ledger's counters from its records and says what differs."""

import argparse
import dataclasses
import json

from cli.arguments import Subcommands, add_json_argument
from cli.failure import CommandFailed
from cli.store_arguments import add_store_arguments, store_of
from ledger.audit import AuditReport, audit
from ledger.audit_difference import Difference
from ledger.errors import LedgerError
from ledger.money import usd_text


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "audit", allow_abbrev=False, help="recompute the counters from the records and list differences"
    )
    add_store_arguments(parser)
    add_json_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Audit and print; 1 when something differs."""
    url, workspace = store_of(arguments)
    try:
        report = audit(url, workspace)
    except (LedgerError, ValueError) as error:
        raise CommandFailed(str(error)) from error
    print(json.dumps(_document(report)) if arguments.json else "\n".join(report.lines))
    return 1 if report.differences else 0


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
