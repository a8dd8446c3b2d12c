"""The table of `docs/reliability.md`: what each event costs, as the last run of ``make chaos`` measured it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.chaos.scenario import Scenario

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN: Final = "<!-- chaos table: made by `make chaos` -->"
END: Final = "<!-- end of the chaos table -->"
HEAD: Final = (
    "| event | what it may lose | calls | answered exactly | without the store | acknowledged and lost |"
    " difference at the end | longest time without an exact answer |\n"
    "|---|---|---|---|---|---|---|---|"
)


def render(found: Sequence[tuple[Scenario, Mapping[str, Any]]], machine: str) -> str:
    """Return the table as Markdown, a row for each scenario that was run, and where."""
    return "\n".join([BEGIN, "", HEAD, *[_row(*pair) for pair in found], "", f"Measured on {machine}.", "", END])


def _row(scenario: Scenario, line: Mapping[str, Any]) -> str:
    without = line["degraded_allowed"] + line["degraded_denied"] + line["failed"]
    cells = [
        scenario.title,
        scenario.bound,
        f"{line['sent']:,}",
        f"{line['exact']:,}",
        f"{without:,}",
        f"{line['lost']:,} (${line['lost_usd']})",
        f"${line['difference_usd']}",
        f"{line['longest_gap_s']:.2f} s",
    ]
    return f"| {' | '.join(cells)} |"


def write(table: str) -> None:
    """Put a table in the place of the one in the document."""
    text = DOCUMENT.read_text()
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{DOCUMENT.name} has no place for the table: {BEGIN}")
    DOCUMENT.write_text(pattern.sub(lambda _: table, text))
