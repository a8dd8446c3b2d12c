"""The look of every table: a line below the headings, narrow enough for 80 columns."""

from rich.box import SIMPLE_HEAD
from rich.table import Table


def plain_table(*, left: tuple[str, ...], right: tuple[str, ...] = (), last: tuple[str, ...] = ()) -> Table:
    """Return a table with columns of text, then of figures, then of text again."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in last:
        table.add_column(heading, overflow="fold")
    return table
