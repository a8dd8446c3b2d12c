"""What the enforcer has begun is told before its sidecar is gone."""

from pathlib import Path
from typing import Any

from ledger.decisions import Operation
from ledger.errors import StoreUnavailable
from sidecar.api.decode import decode_request
from sidecar.lanes import drain
from tests.support.edge import running_edge
from tests.support.raw_caller import CHECK


async def test_what_is_answered_without_the_store_is_waited_for_at_a_stop(tmp_path: Path) -> None:
    """An answer that has to be journaled is told before a sidecar that stops closes its journal."""
    async with running_edge(tmp_path) as edge:
        edge.ledger.failure = StoreUnavailable("gone")
        told: list[Any] = []
        edge.enforcer.start(decode_request(Operation.CHECK, {**CHECK, "request_id": "c-1"}), told.append)
        await drain(edge.enforcer._lanes)
        await edge.enforcer.drain()
        assert [True] == [answer.degraded for answer in told]
