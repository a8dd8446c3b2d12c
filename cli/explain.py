"""`spendgate explain USER`: which rules apply to a user now, which were skipped, and why."""

import argparse
import json
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.amounts import amount_text
from cli.arguments import Subcommands
from cli.sidecar_client import entries, get_json
from cli.tables import plain_table
from cli.usage import UNLIMITED, add_user_arguments

APPLIES: Final = "applies"
WHY_SKIPPED: Final = {
    "disabled": "skipped: it is disabled",
    "expired": "skipped: it has expired",
    "overridden": "skipped: the user has an override",
    "tier_has_template": "skipped: the tier has a template of its own",
}


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "explain", allow_abbrev=False, help="show which rules apply to a user, and why others do not"
    )
    add_user_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask the sidecar and print."""
    query = {"user_id": arguments.user} | ({"tier": arguments.tier} if arguments.tier else {})
    explanation = get_json(arguments.url, "/v1/explain", query)
    if arguments.json:
        print(json.dumps(explanation))
        return 0
    console = Console()
    for line in _lines(explanation):
        console.print(line, markup=False, highlight=False)
    console.print(_table(explanation))
    return 0


def _lines(explanation: dict[str, object]) -> list[str]:
    tier = f", tier {explanation['tier']}" if explanation.get("tier") else ", no tier"
    lines = [
        f"{explanation.get('user_id')}{tier}: rules revision {explanation.get('rules_revision')}, "
        f"mode {explanation.get('mode')}, plan {explanation.get('plan')}",
        f"While the store does not answer: {_policy(explanation.get('on_store_failure'))}. "
        f"A model without a price: {_policy(explanation.get('on_unpriced'))}.",
    ]
    return lines if entries(explanation, "rules") else [*lines, "No rule applies: calls are allowed and counted."]


def _policy(policy: object) -> str:
    """Return a policy in words: ``deny``, ``allow up to $0.25``, ``charge $0.05``."""
    if not isinstance(policy, dict):
        return str(policy)
    return ", ".join(
        f"{name.removesuffix('_usd').replace('_', ' ')} {amount_text(usd)}" for name, usd in policy.items()
    )


def _table(explanation: dict[str, object]) -> Table:
    table = plain_table(left=("Rule", "For"), right=("Limit",), last=("Window", "Action", "Now"))
    for rule in entries(explanation, "rules"):
        table.add_row(*_cells(rule), APPLIES)
    for entry in entries(explanation, "skipped"):
        skipped, why = entry.get("rule"), str(entry.get("why"))
        table.add_row(*_cells(skipped if isinstance(skipped, dict) else {}), escape(WHY_SKIPPED.get(why, why)))
    return table


def _cells(rule: dict[str, object]) -> tuple[str, ...]:
    limit = UNLIMITED if rule.get("limit_usd") is None else amount_text(rule["limit_usd"])
    kind, key, window, action = (escape(str(rule.get(name))) for name in ("kind", "key", "window", "action"))
    return kind, key, limit, window, action
