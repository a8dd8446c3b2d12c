"""`spendgate rules validate FILE`: says what a rule file holds, or everything that is wrong with it.

`cli.rules_sync` has the actions that ask the control plane.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from cli import rules_sync
from cli.arguments import Subcommands
from cli.rule_files import read_rule_bytes
from ledger.errors import RuleSetInvalid
from ledger.rules import RuleKind, RuleSet, RuleStatus
from sidecar.rule_loading import DocumentFormat, read_rule_set


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "rules", allow_abbrev=False, help="check rule files, and put them in force through the control plane"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    validate = actions.add_parser("validate", allow_abbrev=False, help="list every fault of a rule file with its path")
    validate.add_argument("file", type=Path, help="a rule file, YAML or (named .json) JSON")
    validate.set_defaults(run=run_validate)
    rules_sync.add_actions(actions)


def run_validate(arguments: argparse.Namespace) -> int:
    """Print a summary, or each fault on standard error; 1 when there is one."""
    file: Path = arguments.file
    try:
        rule_set = read_rule_set(read_rule_bytes(file), _format_of(file))
    except RuleSetInvalid as invalid:
        for path, message in invalid.faults:
            print(f"{file}: {path}: {message}", file=sys.stderr)
        return 1
    print(f"{file}: {summary(rule_set)}")
    return 0


def summary(rule_set: RuleSet) -> str:
    """Return one line on what a rule set holds and how it acts."""
    kinds = Counter(rule.kind for rule in rule_set.rules)
    disabled = sum(rule.status is RuleStatus.DISABLED for rule in rule_set.rules)
    workspace = rule_set.workspace
    return (
        f"valid, {kinds[RuleKind.TIER_TEMPLATE]} tier templates, {kinds[RuleKind.USER_OVERRIDE]} user overrides "
        f"({disabled} disabled), time zone {workspace.calendar.timezone}, mode {workspace.mode}, plan {workspace.plan}"
    )


def _format_of(file: Path) -> DocumentFormat:
    return DocumentFormat.JSON if file.suffix == ".json" else DocumentFormat.YAML
