"""``make chaos``: run scenarios one after another, print a JSON line for each, and renew the table of the document."""

import argparse
import asyncio
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from tests.chaos import table
from tests.chaos.scenario import Scenario, find_scenarios, perform


def main() -> int:
    """Run what was named, else all but the long ones; 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", allow_abbrev=False)
    parser.add_argument("names", nargs="*", help="scenarios; default: all")
    parser.add_argument("--seed", type=int, default=int(datetime.now(UTC).timestamp()), help="of the random numbers")
    parser.add_argument("--soak", action="store_true", help="the long ones instead")
    parser.add_argument("--list", action="store_true", help="say which there are, and end")
    parser.add_argument("--write", action="store_true", help="renew the table of docs/reliability.md")
    parser.add_argument("--table-from", metavar="FILE", help="renew it from the lines that earlier runs have printed")
    arguments = parser.parse_args()
    if arguments.table_from:
        table.write(table.render(_read(Path(arguments.table_from)), _machine()))
        return 0
    chosen = _chosen(arguments.names, soak=arguments.soak)
    if arguments.list:
        _say("\n".join(f"{scenario.name:30} {scenario.title}" for scenario in chosen))
        return 0
    found = []
    for scenario in chosen:
        report = asyncio.run(perform(scenario, arguments.seed))
        line = report.line(scenario, arguments.seed)
        _say(json.dumps(line))
        found.append((scenario, line))
    if arguments.write:
        table.write(table.render(found, _machine()))
    return 0 if all(line["held"] for _, line in found) else 1


def _chosen(names: list[str], *, soak: bool) -> list[Scenario]:
    scenarios = find_scenarios()
    unknown = set(names) - {scenario.name for scenario in scenarios}
    if unknown:
        raise SystemExit(f"no such scenario: {', '.join(sorted(unknown))}; --list shows them")
    return [each for each in scenarios if (each.name in names if names else each.soak == soak)]


def _read(path: Path) -> list[tuple[Scenario, dict[str, Any]]]:
    """Return the scenarios that were run, the last run of each, in the order of their names."""
    lines = {line["scenario"]: line for line in map(json.loads, path.read_text().splitlines())}
    return [(scenario, lines[scenario.name]) for scenario in find_scenarios() if scenario.name in lines]


def _machine() -> str:
    system = f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{datetime.now(UTC).date()} on {system}, redis-py {redis.__version__}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
