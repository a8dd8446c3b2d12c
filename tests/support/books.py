"""What stands in a store after a test: the audit's own snapshot, and the sums that tests compare."""

import secrets
from dataclasses import dataclass
from typing import Final

from ledger.audit import AuditReport, audit_store
from ledger.audit_snapshot import KeptRecord, Snapshot, read_snapshot
from ledger.connection import StoreTimeouts, connect

PATIENT: Final = StoreTimeouts(connect_ms=10_000, command_ms=10_000)


def new_workspace() -> str:
    """Return a name that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True)
class Books:
    """The counters and records of a workspace, and what the audit says of them. Amounts are nano-USD."""

    snapshot: Snapshot
    report: AuditReport

    def spend(self, user_id: str) -> dict[str, int]:
        """Return what a user spent, by window type."""
        counters = self.snapshot.counters.items()
        return {str(window.type): counter.spend_nanos for (window, user), counter in counters if user == user_id}

    def held(self, user_id: str) -> dict[str, int]:
        """Return what a user holds, by window type."""
        counters = self.snapshot.counters.items()
        return {str(window.type): counter.held_nanos for (window, user), counter in counters if user == user_id}

    def tier_spend(self, tier: str) -> dict[str, int]:
        """Return what a tier spent, by window type."""
        return {str(window.type): spend for (window, name), spend in self.snapshot.totals.items() if name == tier}

    def record(self, request_id: str) -> KeptRecord | None:
        """Return the record of a request id, None if nothing was admitted under it."""
        return next((record for record in self.snapshot.records if record.request_id == request_id), None)


async def read_books(redis_url: str, workspace: str) -> Books:
    """Read and audit a workspace that is quiet."""
    client = connect(redis_url, PATIENT)
    try:
        snapshot = await read_snapshot(client, workspace)
    finally:
        await client.aclose()
    return Books(snapshot, await audit_store(redis_url, workspace))


def every_window(nanos: int) -> dict[str, int]:
    """Return the same amount for day, week and month."""
    return {"day": nanos, "week": nanos, "month": nanos}
