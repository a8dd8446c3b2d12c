"""`spendgate adjust USER --usd -5 --note WHY`: an audited credit, refund or correction of what a user has spent."""

import argparse
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from cli.amounts import amount_text
from cli.arguments import Subcommands, add_json_argument
from cli.control_client import add_control_argument, call_control
from cli.failure import CommandFailed
from ledger.errors import InvalidInput
from ledger.money import parse_signed_usd, usd_text


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "adjust", allow_abbrev=False, help="credit, refund or correct what a user has spent, through the control plane"
    )
    parser.add_argument("user", help="the user's id")
    parser.add_argument(
        "--usd", required=True, type=_signed_usd, help="what to add; below zero it is a credit, as in --usd -5"
    )
    parser.add_argument("--note", required=True, help="why, for the enforcement log")
    parser.add_argument("--tier", help="correct this tier's totals as well")
    parser.add_argument("--at", metavar="MOMENT", help="correct the windows of this moment (RFC 3339) instead of now's")
    parser.add_argument(
        "--request-id", help="repeat an adjustment whose answer was lost: with the same id it is done once"
    )
    add_control_argument(parser)
    add_json_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Adjust and print the counters that it left."""
    request_id = arguments.request_id or f"adjust-{secrets.token_hex(8)}"
    fields = {"usd": arguments.usd, "note": arguments.note, "tier": arguments.tier, "at": arguments.at}
    body = {"request_id": request_id, **{name: value for name, value in fields.items() if value is not None}}
    path = f"/api/v1/users/{quote(arguments.user, safe='')}/adjust"
    try:
        answer = call_control(
            arguments.control_url,
            "POST",
            path,
            body=orjson.dumps(body),
            headers={"Content-Type": "application/json"},
        )
    except CommandFailed as failure:
        hint = f"whether it was done is unknown: repeat with --request-id {request_id}"
        raise CommandFailed(f"{failure}\n{hint}") from None
    if answer.is_error:
        raise CommandFailed(answer.detail)
    if arguments.json:
        print(answer.body.decode())
        return 0
    print("\n".join(_lines(answer.document)))
    return 0


def _lines(adjusted: Mapping[str, Any]) -> list[str]:
    again = " (it was done before)" if adjusted["replayed"] else ""
    head = f"{adjusted['user_id']}: {amount_text(adjusted['usd'])}{again}, request {adjusted['request_id']}"
    return [
        head,
        *(
            f"  {window['window']}: {amount_text(window['spend_usd'])} spent, resets {window['resets_at']}"
            for window in adjusted["windows"]
        ),
    ]


def _signed_usd(text: str) -> str:
    try:
        return usd_text(parse_signed_usd(text, field="the amount"))
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.message) from error
