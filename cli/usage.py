"""`spendgate usage USER`: what a user spent today, this week and this month, and what each budget leaves."""

import argparse
import json
from typing import Final
from urllib.parse import quote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.amounts import amount_text
from cli.arguments import Subcommands, add_json_argument, add_url_argument
from cli.sidecar_client import entries, get_json
from cli.tables import plain_table

UNLIMITED: Final = "unlimited"
RULE_KINDS: Final = {"tier_template": "template", "user_override": "override"}


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("usage", allow_abbrev=False, help="show what a user spent and what is left")
    add_user_arguments(parser)
    parser.set_defaults(run=run)


def add_user_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a question about a user takes."""
    parser.add_argument("user", help="the user's id")
    parser.add_argument("--tier", help="the tier the app sends for this user")
    add_url_argument(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the sidecar and print."""
    query = {"tier": arguments.tier} if arguments.tier else {}
    usage = get_json(arguments.url, f"/v1/usage/{quote(arguments.user, safe='')}", query)
    if arguments.json:
        print(json.dumps(usage))
        return 0
    console = Console()
    tier = f", tier {usage['tier']}" if usage.get("tier") else ""
    title = f"{usage.get('user_id')}{tier}, {usage.get('open_holds')} open holds, at {usage.get('at')}"
    console.print(title, markup=False, highlight=False)
    console.print(_windows_table(usage))
    console.print(_budgets_table(usage))
    return 0


def _windows_table(usage: dict[str, object]) -> Table:
    table = plain_table(left=("Window",), right=("Spend", "Held", "Calls"), last=("Resets at",))
    for window in entries(usage, "windows"):
        table.add_row(
            escape(str(window.get("window"))),
            amount_text(window.get("spend_usd")),
            amount_text(window.get("held_usd")),
            f"{window.get('calls')}",
            _moment(window.get("resets_at")),
        )
    return table


def _budgets_table(usage: dict[str, object]) -> Table:
    """Return the budgets; the share stands beside the limit it is a share of, with the window it is for."""
    table = plain_table(left=("Budget", "Action"), right=("Spend", "Limit", "Left", "Used"), last=("Resets at",))
    for budget in entries(usage, "budgets"):
        is_limited = budget.get("limit_usd") is not None
        table.add_row(
            escape(f"{budget.get('window')}, {RULE_KINDS.get(str(budget.get('rule_kind')), 'rule')}"),
            escape(str(budget.get("action"))),
            amount_text(budget.get("spend_usd")),
            amount_text(budget.get("limit_usd")) if is_limited else UNLIMITED,
            amount_text(budget.get("remaining_usd")) if is_limited else UNLIMITED,
            f"{budget.get('percent')} %" if is_limited else "-",
            _moment(budget.get("resets_at")),
        )
    return table


def _moment(value: object) -> str:
    """Return a moment of an answer without its seconds where they are zero, as those of windows are."""
    return escape(str(value).replace(":00Z", "Z").replace("T", " "))
