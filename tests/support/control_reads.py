"""The reading half of the control plane over a real store, with rules that tests set and a ledger that fills it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import redis.asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.api.problems import problem_middleware
from controlplane.api.reads import ReadParts, read_routes
from controlplane.metrics import Metrics
from controlplane.sidecars import SidecarBoard
from ledger.breakdown_reader import BreakdownReader
from ledger.decisions import Decision, Operation
from ledger.event_log import EventLog
from ledger.heartbeats import Heartbeats
from ledger.operations import Admission, sent_text
from ledger.plans import compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.rule_book import RuleBook
from ledger.rule_changes import RulePosition
from ledger.rules import EMPTY_RULE_SET, RuleSet
from ledger.spend_reader import SpendReader
from tests.support.event_streams import EventStreams
from tests.support.ledger_under_test import nanos


@dataclass(slots=True, kw_only=True)
class ControlReads:
    """A running control plane: ask it by `get` and `post`, fill it by `check` and `reserve`."""

    session: aiohttp.ClientSession
    url: str
    streams: EventStreams
    ledger: RedisLedger
    heartbeats: Heartbeats
    rule_set: RuleSet = EMPTY_RULE_SET
    closing: bool = False

    def book(self) -> RuleBook:
        """Return the rules as the control plane has them."""
        position = RulePosition("epoch", self.rule_set.revision, "tip")
        return RuleBook(position=position, settings_revision=1, rules=self.rule_set, entries=MappingProxyType({}))

    async def get(self, path: str, **parameters: str) -> tuple[int, Any]:
        """GET; returns status and decoded answer."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            return response.status, await response.json(content_type=None)

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        """POST JSON; returns status and decoded answer."""
        async with self.session.post(f"{self.url}/api/v1/{path}", data=orjson.dumps(body)) as response:
            return response.status, await response.json(content_type=None)

    async def items(self, path: str, **parameters: str) -> list[Any]:
        """Return the items of every page of a list."""
        items: list[Any] = []
        while True:
            status, page = await self.get(path, **parameters)
            assert status == 200, page
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            parameters["cursor"] = page["next_cursor"]

    async def text(self, path: str, **parameters: str) -> tuple[Any, str]:
        """GET a text; returns headers and body."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            assert response.status == 200, await response.text()
            return response.headers, (await response.read()).decode()

    async def admit(self, operation: Operation, user_id: str, usd: float, **changes: Any) -> Decision:
        """Put a check or a reserve to the ledger under the rules of now."""
        tier, ttl_ms = changes.pop("tier", None), 600_000 if operation is Operation.RESERVE else 0
        now_ms = await self.ledger.store_time_ms()
        fields: dict[str, Any] = {"request_id": uuid4().hex, "not_after_ms": now_ms + 60_000, "ttl_ms": ttl_ms}
        admission = Admission(
            operation=operation,
            plan=compile_plan(self.rule_set, user_id, tier, now_ms),
            user_id=user_id,
            amount_nanos=nanos(usd),
            sent=sent_text(operation, tier, str(nanos(usd)), ttl_ms),
            **(fields | changes),
        )
        (decision,) = await self.ledger.admit([admission])
        assert isinstance(decision, Decision), decision
        return decision

    async def check(self, user_id: str, usd: float, **changes: Any) -> Decision:
        """Check an amount."""
        return await self.admit(Operation.CHECK, user_id, usd, **changes)

    async def reserve(self, user_id: str, usd: float, **changes: Any) -> Decision:
        """Reserve an estimate."""
        return await self.admit(Operation.RESERVE, user_id, usd, **changes)


@contextlib.asynccontextmanager
async def control_reads(store_url: str, *, partitions: int = 1) -> AsyncIterator[ControlReads]:
    """Serve the reading half of the control plane in a workspace of its own."""
    workspace = f"control-{uuid4().hex[:12]}"
    async with redis.asyncio.Redis.from_url(store_url) as client, aiohttp.ClientSession() as session:
        log, spend = EventLog(client, workspace, partitions), SpendReader(client, workspace, partitions)
        ledger = RedisLedger(client, workspace=workspace, partitions=partitions)
        control = ControlReads(
            session=session,
            url="",
            streams=EventStreams(client, workspace, log),
            ledger=ledger,
            heartbeats=Heartbeats(client, workspace=workspace),
        )
        app = web.Application(middlewares=[problem_middleware(Metrics(version="test"))])
        parts = ReadParts(
            log=log,
            spend=spend,
            breakdown=BreakdownReader(client, workspace, partitions),
            ledger=ledger,
            board=SidecarBoard(control.heartbeats, control.book),
            book=control.book,
            is_closing=lambda: control.closing,
        )
        app.add_routes(read_routes(parts))
        async with TestServer(app) as server:
            control.url = str(server.make_url("")).rstrip("/")
            yield control
            control.closing = True
