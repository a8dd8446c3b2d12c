"""Cases of a real server that a ledger in memory does not have: sums past 2^63, broken keys, lost connections."""

import uuid
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from ledger.counter_text import parse_counter
from ledger.decisions import Decision, Operation, Outcome, Settlement
from ledger.errors import StoreUnavailable
from ledger.money import CAP_NANOS
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.rules import Action, RuleSet
from ledger.script_connection import ScriptConnection
from ledger.windows import Calendar
from sidecar.breaker import Breaker, BreakerLimits
from sidecar.store_clock import StoreClock
from sidecar.sweeper import Sweeper
from tests.support.ledger_under_test import nanos, rule, rules, template

NEAR_2_63 = 2**63 - 10


class Book:
    """A ledger on a real server in a workspace of its own, its connection pipelined as in a sidecar."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self.client = client
        self.connection = ScriptConnection(client)
        connections = {"admit": self.connection, "resolve": self.connection}
        self.ledger = RedisLedger(client, workspace=f"hard-{uuid.uuid4().hex[:12]}", connections=connections)
        self.keys = self.ledger._partitions[0]
        self.now_ms = 0

    def admission(self, rule_set: RuleSet, usd_nanos: int, user: str = "alice", **changes: object) -> Admission:
        """Return a check, or what `changes` make of it."""
        fields = {
            "operation": Operation.CHECK,
            "plan": compile_plan(rule_set, user, None, self.now_ms),
            "request_id": uuid.uuid4().hex,
            "user_id": user,
            "amount_nanos": usd_nanos,
            "sent": sent_text(Operation.CHECK, None, str(usd_nanos), 0),
            "not_after_ms": self.now_ms + 60_000,
            **changes,
        }
        return Admission(**fields)  # type: ignore[arg-type]

    async def spend(self, admission: Admission) -> int:
        """Return the stored spend of the day."""
        key = self.keys.counter(admission.plan.counters[0].window, admission.user_id)
        stored = await self.client.get(key)
        return 0 if stored is None else parse_counter(stored).spend_nanos


@pytest.fixture
async def book(valkey_url: str) -> AsyncIterator[Book]:
    """A fresh book."""
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        book = Book(client)
        book.now_ms = await book.ledger.store_time_ms()
        yield book
        await book.connection.aclose()


async def test_a_full_tally_does_not_double_a_charge(book: Book) -> None:
    """Refused calls are not bounded by the cap; when their sum is full, a batch must still be written whole."""
    rule_set = rules(rule("mallory", 10), rule("bob", 10))
    refused = book.admission(rule_set, CAP_NANOS, "mallory")
    budget = refused.plan.budgets[0]
    tally = book.keys.tally(budget.terms.window, budget.terms.rule_id)
    await book.client.hset(tally, "blocked_nanos", NEAR_2_63)
    charged = book.admission(rule_set, nanos(1), "bob")
    first = await book.ledger.admit([charged, refused])
    again = await book.ledger.admit([charged])
    assert [Outcome.ALLOW, Outcome.BLOCK, True] == [first[0].outcome, first[1].outcome, again[0].replayed]  # type: ignore[union-attr]
    assert (nanos(1), b"1") == (await book.spend(charged), await book.client.hget(tally, "blocked"))


async def test_one_unattributed_settle_is_counted_once(book: Book) -> None:
    """Also when it stands in a batch that fails as a whole and is repeated."""
    settle = Resolution(operation=Operation.SETTLE, user_id="a", request_id="lost", amount_nanos=5, sent="5")
    poisoned = Resolution(operation=Operation.RELEASE, user_id="b", request_id="x")
    await book.client.sadd(book.keys.request("b", "x"), "of another type")
    with pytest.raises(StoreUnavailable):
        await book.ledger.resolve([settle, poisoned])
    await book.ledger.resolve([settle])
    assert {b"count": b"1", b"nanos": b"5"} == await book.client.hgetall(book.keys.unattributed)


async def test_a_closed_idle_connection_costs_no_decision(book: Book) -> None:
    """Servers and balancers close idle connections; the next call goes through all the same."""
    rule_set = rules(rule())
    await book.ledger.admit([book.admission(rule_set, nanos(1))])
    await book.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    (decision,) = await book.ledger.admit([book.admission(rule_set, nanos(1))])
    assert isinstance(decision, Decision)
    assert nanos(2) == decision.budgets[0].spend_nanos


async def test_a_correction_across_2_53_is_exact(book: Book) -> None:
    """Two settles beyond what a double holds exactly, one of them given back."""
    rule_set = rules(rule(limit_usd=None))
    for name in ("one", "two"):
        hold = book.admission(
            rule_set, 10, request_id=name, operation=Operation.RESERVE, ttl_ms=600_000, sent=f"reserve{name}"
        )
        await book.ledger.admit([hold])
    for name, amount in (("one", CAP_NANOS - 1), ("two", CAP_NANOS - 2)):
        settle = Resolution(
            operation=Operation.SETTLE, user_id="alice", request_id=name, amount_nanos=amount, sent=str(amount)
        )
        (settled,) = await book.ledger.resolve([settle])
        assert isinstance(settled, Settlement)
    assert 2 * CAP_NANOS - 3 == await book.spend(hold)


async def test_a_broken_user_does_not_stop_the_sweep(book: Book) -> None:
    """The holds of the next user expire all the same."""
    rule_set = rules(rule("a-broken"), rule("b-fine"))
    holds = [
        book.admission(rule_set, 10, user, operation=Operation.RESERVE, ttl_ms=1, sent="r")
        for user in ("a-broken", "b-fine")
    ]
    await book.ledger.admit(holds)
    counter = book.keys.counter(holds[0].plan.counters[0].window, "a-broken")
    await book.client.delete(counter)
    await book.client.sadd(counter, "of another type")
    while await book.ledger.store_time_ms() <= book.now_ms + 5:
        pass  # Each turn asks the store for its time; the holds are due within milliseconds.
    codes: list[str] = []
    sweeper = Sweeper(
        book.ledger, StoreClock(), breakers=[Breaker(BreakerLimits())], interval_s=1.0, on_error=codes.append
    )
    assert (1, ["store_error"]) == (await sweeper.sweep(), codes)
    assert 10 == await book.spend(holds[1])


async def test_a_tier_change_between_zones_keeps_the_spend(book: Book) -> None:
    """What was spent in one tier counts in the other tier's zone."""
    auckland = Calendar("Pacific/Auckland")
    rule_set = rules(template("eu", 100, calendar=auckland, action=Action.BLOCK), template("us", 100))
    answers = []
    for tier, usd in (("eu", 1), ("us", 90), ("eu", 90)):
        plan = compile_plan(rule_set, "alice", tier, book.now_ms)
        answers += await book.ledger.admit([book.admission(rule_set, nanos(usd), plan=plan)])
    assert [Outcome.ALLOW, Outcome.BLOCK] == [answers[0].outcome, answers[2].outcome]  # type: ignore[union-attr]
