"""A workspace of three partitions on a real server, with users who spend, to be exported and erased."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import redis.asyncio

from ledger.adjustments import Adjustment, adjustment_sent
from ledger.audit import audit_store
from ledger.connection import claim_partitions
from ledger.decisions import Decision, Operation
from ledger.keys import partition_of
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.rules import RuleSet
from ledger.user_data import UserReader
from ledger.user_erasure import UserEraser
from tests.support.ledger_under_test import nanos, rules, template

USER = "user:1"
PARTITIONS = 3
WHY = {"actor": "tester", "note": "a request"}
DEADLINE_S = 60.0
RULES = rules(template("pro", 100))


def _neighbour(form: str) -> str:
    """Return a name of a form whose keys lie beside those of `USER`."""
    names = (form.format(number) for number in range(100))
    return next(name for name in names if partition_of(name, PARTITIONS) == partition_of(USER, PARTITIONS))


OTHERS = tuple(_neighbour(form) for form in ("{}user:1", "r:{}:user:1", "{}:user:1", "user:1{}"))


@dataclass
class House:
    """A workspace on a real server."""

    client: "redis.asyncio.Redis"
    url: str
    workspace: str
    ledger: RedisLedger

    @property
    def reader(self) -> UserReader:
        """Reads users."""
        return UserReader(self.client, self.workspace, PARTITIONS)

    @property
    def eraser(self) -> UserEraser:
        """Erases users."""
        return UserEraser(self.client, self.workspace, PARTITIONS)

    async def admit(
        self,
        operation: Operation,
        request: str,
        usd: float,
        *,
        user_id: str = USER,
        rule_set: RuleSet = RULES,
        ttl_ms: int = 60_000,
    ) -> None:
        """Check or reserve `usd` of a user of the tier pro."""
        now_ms = await self.ledger.store_time_ms()
        admission = Admission(
            operation=operation,
            plan=compile_plan(rule_set, user_id, "pro", now_ms),
            request_id=request,
            user_id=user_id,
            amount_nanos=nanos(usd),
            sent=sent_text(operation, "pro", str(nanos(usd)), ttl_ms),
            not_after_ms=now_ms + 600_000,
            ttl_ms=ttl_ms,
            group="search",
        )
        (decision,) = await self.ledger.admit([admission])
        assert isinstance(decision, Decision)

    async def spend(self, user_id: str, *, usd: float = 3, holds: bool = False, tag: str = "") -> None:
        """Check `usd`, hold and settle 7, be blocked, be credited 1; with `holds` leave a call held.

        Calls have other ids with another `tag`.
        """
        await self.admit(Operation.CHECK, f"r{tag}", usd, user_id=user_id)
        await self.admit(Operation.RESERVE, f"r:user:1{tag}", 5, user_id=user_id)
        await self.ledger.resolve([settle(user_id, f"r:user:1{tag}", 7)])
        await self.admit(Operation.CHECK, f"blocked{tag}", 500, user_id=user_id)
        adjustment = Adjustment(
            user_id=user_id,
            request_id=f"credit{tag}",
            amount_nanos=-nanos(1),
            plan=compile_plan(RULES, user_id, "pro", await self.ledger.store_time_ms()),
            sent=adjustment_sent("pro", -nanos(1), None),
        )
        await self.ledger.adjust(adjustment)
        if holds:
            await self.admit(Operation.RESERVE, "held", 1, user_id=user_id)

    async def expire(self, request: str, usd: float) -> None:
        """Reserve `usd`, and be charged it at the deadline; it takes a check of 1, of another id, to resolve it."""
        await self.admit(Operation.RESERVE, request, usd, ttl_ms=1)
        deadline_ms = await self.ledger.store_time_ms() + 1
        async with asyncio.timeout(DEADLINE_S):
            while True:
                if await self.ledger.store_time_ms() > deadline_ms:
                    break
                await asyncio.sleep(0.001)
        await self.admit(Operation.CHECK, f"{request}-resolved", 1)

    async def differences(self) -> list[Any]:
        """Audit."""
        return list((await audit_store(self.url, self.workspace)).differences)

    async def everything(self) -> dict[str, Any]:
        """Return every key of the workspace with what it holds, streams by their entries' fields."""
        found: dict[str, Any] = {}
        async for key in self.client.scan_iter(match=f"sg:{self.workspace}:*"):
            kind = (await self.client.type(key)).decode()
            name = key.decode()
            if kind == "hash":
                found[name] = await self.client.hgetall(key)
            elif kind == "string":
                found[name] = await self.client.get(key)
            elif kind == "stream":
                found[name] = await self.client.xrange(key)
            else:
                found[name] = await self.client.zrange(key, 0, -1, withscores=True)
        return found


def settle(user_id: str, request: str, usd: float) -> Resolution:
    """Return the settle of a hold."""
    amount = nanos(usd)
    return Resolution(
        operation=Operation.SETTLE, user_id=user_id, request_id=request, amount_nanos=amount, sent=str(amount)
    )


@contextlib.asynccontextmanager
async def open_house(url: str) -> AsyncIterator[House]:
    """Open an empty workspace on a server."""
    async with redis.asyncio.Redis.from_url(url) as client:
        workspace = f"user-{uuid4().hex[:12]}"
        await claim_partitions(client, workspace, PARTITIONS)
        yield House(client, url, workspace, RedisLedger(client, workspace=workspace, partitions=PARTITIONS))
