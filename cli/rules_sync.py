"""`spendgate rules apply | diff | export`: rule files in version control, put in force through the control plane."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from cli.arguments import Subcommands
from cli.control_client import ControlAnswer, add_control_argument, call_control
from cli.failure import CommandFailed
from cli.rule_files import read_rule_bytes

YAML: Final = "application/yaml"
JSON: Final = "application/json"
EXIT_DIFFERENT: Final = 1
INVALID: Final = "invalid_rules"
COUNTS: Final = ("added", "changed", "removed", "unchanged")


def add_actions(actions: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the actions to `spendgate rules`."""
    apply = actions.add_parser("apply", allow_abbrev=False, help="make the control plane's rules what a file says")
    apply.add_argument("--note", default="", help="why, for the audit trail")
    apply.add_argument(
        "--if-revision", type=int, metavar="N", help="only if the rules still stand at this revision, as `diff` told"
    )
    apply.set_defaults(run=run_apply)
    diff = actions.add_parser("diff", allow_abbrev=False, help="tell what `apply` would change; 1 if anything")
    diff.set_defaults(run=run_diff)
    for parser in (apply, diff):
        parser.add_argument("file", type=Path, help="a rule file, YAML or (named .json) JSON; - is standard input")
    export = actions.add_parser("export", allow_abbrev=False, help="write the control plane's rules as a rule file")
    export.add_argument("file", type=Path, nargs="?", help="where to; standard output if left out")
    export.add_argument("--json", action="store_true", help="JSON instead of YAML")
    export.add_argument("--no-ids", action="store_true", help="leave the rules' ids out")
    export.add_argument("--revision", type=int, metavar="N", help="the rules as they stood then")
    export.set_defaults(run=run_export)
    for parser in (apply, diff, export):
        add_control_argument(parser)


def run_apply(arguments: argparse.Namespace) -> int:
    """Import the file and print what it changed; 1 with every fault on standard error when it is refused."""
    headers = {} if arguments.if_revision is None else {"If-Match": f'"{arguments.if_revision}"'}
    query = {"change_note": arguments.note} if arguments.note else {}
    answer = _import(arguments, query, headers)
    if _is_invalid(answer, arguments.file):
        return EXIT_DIFFERENT
    done = answer.document
    print(f"revision {done['revision']}: {_counts(done)}")
    return 0


def run_diff(arguments: argparse.Namespace) -> int:
    """Print what the file would change, as lines beginning with + - ~; 1 if anything."""
    answer = _import(arguments, {"dry_run": "true"}, {})
    if _is_invalid(answer, arguments.file):
        return EXIT_DIFFERENT
    diff = answer.document
    lines = list(diff_lines(diff))
    print("\n".join([*lines, f"{_counts(diff)}, against revision {diff['revision']}"]))
    return EXIT_DIFFERENT if lines else 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write the rules."""
    path = "/api/v1/rules/export"
    if arguments.revision is not None:
        path = f"/api/v1/rules/revisions/{arguments.revision}"
    query = {"ids": "false"} if arguments.no_ids else {}
    answer = call_control(
        arguments.control_url, "GET", path, query=query, headers={"Accept": JSON if arguments.json else YAML}
    )
    if answer.is_error:
        raise CommandFailed(answer.detail)
    if arguments.file is None:
        sys.stdout.buffer.write(answer.body)
        sys.stdout.buffer.flush()
        return 0
    try:
        arguments.file.write_bytes(answer.body)
    except OSError as error:
        raise CommandFailed(f"{arguments.file} cannot be written: {error.strerror}") from error
    return 0


def diff_lines(diff: Mapping[str, Any]) -> Iterable[str]:
    """Yield a line for each rule that would be added, changed or removed, and for settings and prices."""
    for change in diff["added"]:
        yield f"+ {_place(change['after'])}: {_terms(change['after'])}"
    for change in diff["changed"]:
        yield f"~ {_place(change['after'])}: {_differences(change['before'], change['after'])}"
    for change in diff["removed"]:
        yield f"- {_place(change['before'])}: {_terms(change['before'])}"
    for name in ("added", "changed", "removed"):
        if diff["counts"][name] > len(diff[name]):
            yield f"  and {diff['counts'][name] - len(diff[name])} more {name}"
    if diff["settings"] is not None:
        yield f"~ workspace: {_differences(diff['settings']['before'], diff['settings']['after'])}"
    if diff["price_versions"] is not None:
        yield f"~ prices: {diff['price_versions']['before'] or 'none'} -> {diff['price_versions']['after'] or 'none'}"


def _import(arguments: argparse.Namespace, query: Mapping[str, str], headers: Mapping[str, str]) -> ControlAnswer:
    body = read_rule_bytes(arguments.file)
    kind = {"Content-Type": JSON if arguments.file.suffix == ".json" else YAML}
    return call_control(
        arguments.control_url, "POST", "/api/v1/rules/import", query=query, body=body, headers={**kind, **headers}
    )


def _is_invalid(answer: ControlAnswer, file: Path) -> bool:
    """Print the faults of a refused file. Raises `CommandFailed` for every other problem."""
    if not answer.is_error:
        return False
    problem = answer.document
    if problem.get("code") != INVALID:
        raise CommandFailed(answer.detail)
    for fault in problem.get("faults", []):
        print(f"{file}: {fault['path']}: {fault['message']}", file=sys.stderr)
    return True


def _counts(document: Mapping[str, Any]) -> str:
    return ", ".join(f"{document['counts'][name]} {name}" for name in COUNTS)


def _place(rule: Mapping[str, Any]) -> str:
    return f"{rule['kind']} {rule['key']}, {rule['window']}"


def _terms(rule: Mapping[str, Any]) -> str:
    limit = "unlimited" if rule["limit_usd"] is None else f"{rule['limit_usd']} USD"
    return f"{limit}, {rule['action']}" + (", disabled" if rule["status"] == "disabled" else "")


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{name} {_shown(before.get(name))} -> {_shown(after.get(name))}" for name in names)


def _shown(value: object) -> str:
    return "none" if value is None else str(value).replace("\n", " ")
