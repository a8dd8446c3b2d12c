"""How a sidecar stands to its store, for its heartbeats: what the page shows of outages, during and after them."""

from collections.abc import Callable


class Condition:
    """`on_change` is called when something changes that the operator should hear of at once."""

    def __init__(self) -> None:
        self.open_breakers = 0
        self.degraded_decisions = 0
        self.degraded_ms = 0
        self.journal_pending = 0
        self.is_recovering = False
        self.on_change: Callable[[], None] = lambda: None

    def note_degraded(self, at_ms: int) -> None:
        """Count a decision that was made without the store, Unix milliseconds of the store's clock."""
        self.degraded_decisions += 1
        self.degraded_ms = at_ms

    def set_breakers(self, open_breakers: int) -> None:
        """Note how many breakers are open now."""
        before, self.open_breakers = self.open_breakers, open_breakers
        if bool(open_breakers) != bool(before):
            self.on_change()

    def set_journal(self, pending: int, *, is_recovering: bool) -> None:
        """Note how many records the store has not acknowledged, and whether lost data is being made good."""
        before = (bool(self.journal_pending), self.is_recovering)
        self.journal_pending, self.is_recovering = pending, is_recovering
        if (bool(pending), is_recovering) != before:
            self.on_change()
