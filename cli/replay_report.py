"""What a replay found: calls and money by tier, and whom a limit holds tightest."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from rich.markup import escape
from rich.table import Table

from cli.amounts import fixed_text
from cli.tables import plain_table
from cli.tally import Tally
from ledger.money import usd_text

MAX_FAILURES_SHOWN: Final = 5
SPEND_DECIMALS: Final = 4


@dataclass(slots=True)
class ReplayReport:
    """The tallies by tier, what was settled for each user in nano-USD, and how often calls failed for which reason."""

    tiers: dict[str, Tally] = field(default_factory=dict)
    settled_nanos_by_user: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    elapsed_s: float = 0.0

    def tier(self, name: str) -> Tally:
        """Return the tally of a tier, made on first use."""
        return self.tiers.setdefault(name, Tally())

    def settle(self, *, tier: str, user_id: str, cost_nanos: int) -> None:
        """Add an acknowledged settle."""
        self.tier(tier).settled_nanos += cost_nanos
        self.settled_nanos_by_user[user_id] += cost_nanos

    def fail(self, *, tier: str, why: str) -> None:
        """Count a call that got no decision, or whose settle was not acknowledged."""
        self.tier(tier).failed += 1
        self.failures[why] += 1

    @property
    def total(self) -> Tally:
        """The sum of all tiers."""
        total = Tally()
        for tally in self.tiers.values():
            total.add(tally)
        return total

    def document(self, *, with_users: bool) -> dict[str, object]:
        """The JSON form, amounts as exact decimal strings."""
        users = {user: usd_text(nanos) for user, nanos in sorted(self.settled_nanos_by_user.items())}
        return {
            **self.total.document(),
            "elapsed_s": round(self.elapsed_s, 3),
            "tiers": {name: tally.document() for name, tally in sorted(self.tiers.items())},
            "failures": dict(self.failures.most_common(MAX_FAILURES_SHOWN)),
            **({"users": users} if with_users else {}),
        }

    def table(self) -> Table:
        """The table for the terminal: a row a tier, and the sum."""
        figures = ("Calls", "Allowed", "Warned", "Dry run", "Blocked", "Failed", "Spend USD")
        table = plain_table(left=("Tier",), right=figures, last=("Fullest",))
        for name, tally in sorted(self.tiers.items()):
            table.add_row(escape(name), *_cells(tally))
        table.add_section()
        table.add_row("all", *_cells(self.total), style="bold")
        return table

    def lines(self) -> list[str]:
        """What stands below the table: the exact sum, the pace and the failures."""
        total = self.total
        pace = total.calls / self.elapsed_s if self.elapsed_s > 0 else 0.0
        lines = [
            f"Fullest budget of tier {name}: {tally.closest.text}."
            for name, tally in sorted(self.tiers.items())
            if tally.closest
        ]
        lines += [
            f"Settled ${usd_text(total.settled_nanos)} exactly, for {len(self.settled_nanos_by_user):,} users.",
            f"{total.calls:,} calls in {self.elapsed_s:.1f} s ({pace:,.0f} calls/s).",
        ]
        return lines + [
            f"Failed {count:,} times: {why}" for why, count in self.failures.most_common(MAX_FAILURES_SHOWN)
        ]


def _cells(tally: Tally) -> tuple[str, ...]:
    counts = (tally.calls, tally.allowed, tally.warned, tally.dry_run, tally.blocked, tally.failed)
    closest = escape(tally.closest.share_text) if tally.closest else "-"
    return (*(f"{count:,}" for count in counts), fixed_text(tally.settled_nanos, SPEND_DECIMALS), closest)
