"""The command of a lone check or reserve is, byte for byte, what the general way packs."""

import contextlib
from itertools import product
from typing import Any

import pytest

from ledger import lone_admissions
from ledger.decisions import Operation, Reason
from ledger.keys import PartitionKeys
from ledger.lone_admissions import LoneAdmissions, pack
from ledger.operations import Admission, sent_text
from ledger.plans import Plan, compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.script_arguments import Batch, PlanShelf
from tests.support.ledger_under_test import NOON_MS, rule, rules, template

KEYS = PartitionKeys.of("w", 0)
RULES = rules(template("pro"), template("プロ", 5), rule("alice", 3))


class Packed:
    """Both ways over one partition."""

    def __init__(self) -> None:
        self.shelf = PlanShelf(KEYS)
        self.words_asked = 0
        self.lone = LoneAdmissions(KEYS, self.words)

    def words(self, admission: Admission) -> tuple[Any, ...]:
        """Return what `RedisLedger` sends, and count how often it was asked for."""
        self.words_asked += 1
        batch = Batch(KEYS, self.shelf)
        batch.add_admission(admission)
        keys = batch.keys(KEYS.events, KEYS.due, KEYS.tiers, KEYS.lineage)
        return ("FCALL", "spendgate_admit_0", len(keys), *keys, *batch.arguments(KEYS.prefix, 1000))


def plan_of(user_id: str, tier: str | None) -> Plan:
    """Return the plan of a user at noon."""
    return compile_plan(RULES, user_id, tier, NOON_MS)


def admission_of(plan: Plan, user_id: str, request_id: str, **fields: Any) -> Admission:
    """Return a check of a dollar."""
    operation = fields.pop("operation", Operation.CHECK)
    return Admission(
        operation=operation,
        plan=plan,
        request_id=request_id,
        user_id=user_id,
        amount_nanos=10**9,
        sent=sent_text(operation, plan.tier, "1000000000", 0),
        not_after_ms=NOON_MS,
        attempt="1f",
        **fields,
    )


KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"operation": Operation.RESERVE, "ttl_ms": 600_000},
    {"group": "search", "model": "gpt-4o", "price_version": "2026-01", "input_tokens": 12, "output_tokens": 3},
    {"meta": '{"a":"\u00e9"}', "unpriced": True},
    {"refusal": Reason.UNPRICED, "refusal_budget": 0},
)


def test_every_command_is_the_general_one() -> None:
    """Whatever the ids look like, and also once the shared part is remembered."""
    users, requests = ("u", "bob", "amy", "100%s", "é", "プロ", "1" * 256), ("r", "%d:%b", "ü-1", "9" * 128, "r:bob")
    packed = Packed()
    for tier in ("pro", "プロ", None):
        plan = plan_of("u", tier)
        for user_id, request_id, kind in product(users, requests, KINDS):
            admission = admission_of(plan, user_id, request_id, **kind)
            assert pack(packed.words(admission)) == packed.lone.pack(admission)


def test_what_calls_share_is_packed_once() -> None:
    """Other ids of the same length need nothing new; a plan of one user's own is not kept."""
    packed, plan = Packed(), plan_of("u", "pro")
    for number in range(10):
        packed.lone.pack(admission_of(plan, f"user-{number}", f"request-{number}" * (number + 1)))
    assert 2 == packed.words_asked  # The first is packed both ways, to see that they agree.
    for number in range(10):
        packed.lone.pack(admission_of(plan_of("alice", "pro"), "alice", str(number)))
    assert 12 == packed.words_asked


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups are the callers' words; ever new ones must not fill the memory."""
    monkeypatch.setattr(lone_admissions, "MAX_FORMS", 4)
    packed, plan = Packed(), plan_of("u", "pro")
    for number in range(20):
        packed.lone.pack(admission_of(plan, "u", "r", group=f"group-{number}"))
        assert 4 >= len(packed.lone._forms)


def test_a_form_that_does_not_fit_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the layout ever be another than this module knows, commands are packed the general way."""
    packed, admission = Packed(), admission_of(plan_of("u", "pro"), "u", "r")
    monkeypatch.setattr(LoneAdmissions, "_form", lambda *_: ("*1", ["wrong"]))
    for _ in range(3):
        assert pack(packed.words(admission)) == packed.lone.pack(admission)
    assert {} == packed.lone._forms


class Connection:
    """Notes what is sent, by either way."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def start(self, packed: bytes, _tell: Any) -> Any:
        """Take a packed command."""
        self.sent.append(packed)
        return lambda _error: None

    async def execute_command(self, *words: Any, **_options: Any) -> Any:
        """Take a command's words."""
        self.sent.append(pack(words))
        return [[]]


async def test_each_partition_has_its_own() -> None:
    """Catches a shared part that was learnt for a stand-in's partition."""
    connection = Connection()
    ledger = RedisLedger(connection, workspace="w", partitions=8, connections={"admit": connection})
    for number in range(40):
        user_id = f"user-{number}"
        admission = admission_of(plan_of(user_id, "pro"), user_id, "r-1")
        ledger.start_admit([admission], lambda _told: None)
        with contextlib.suppress(ValueError):
            await ledger.admit([admission])
        started, general = connection.sent[-2:]
        assert general == started
    assert all(lone._forms for lone in ledger._lone_admissions)
