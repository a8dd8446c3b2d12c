"""What a caller is told when the store cannot be asked."""

import pytest

from ledger.decisions import Decision, Operation, Outcome, Reason
from ledger.errors import StoreError, StoreOverloaded, StoreUnavailable
from ledger.operations import Admission, Resolution
from ledger.plans import compile_plan
from ledger.rules import ALLOW, DENY, Action, Mode, Policy, PolicyKind, Rule
from sidecar.failure_policy import FailurePolicy
from sidecar.store_clock import StoreClock
from tests.support.allowances import memory_allowance
from tests.support.ledger_under_test import NOON_MS, rule, rules

ALLOWANCE = Policy(PolicyKind.AMOUNT, 5)


def admission(*entries: Rule, refusal: Reason | None = None, mode: Mode = Mode.ENFORCE) -> Admission:
    """Return a reserve of alice under some rules."""
    return Admission(
        operation=Operation.RESERVE,
        plan=compile_plan(rules(*entries, mode=mode), "alice", None, NOON_MS),
        request_id="r",
        user_id="alice",
        amount_nanos=1,
        sent="",
        not_after_ms=NOON_MS,
        refusal=refusal,
    )


def policy_over_memory() -> FailurePolicy:
    """Return a policy that keeps its allowances in memory."""
    return FailurePolicy(StoreClock(), memory_allowance(lambda: NOON_MS))


async def decide(call: Admission, error: StoreError) -> Decision:
    """Return what a sidecar answers by itself."""
    return await policy_over_memory().decide(call, error)


@pytest.mark.parametrize(("policy", "outcome"), [(ALLOW, Outcome.ALLOW), (DENY, Outcome.BLOCK)])
async def test_the_rule_decides(policy: Policy, outcome: Outcome) -> None:
    """Whatever its action, `on_store_failure` is what the operator chose."""
    decision = await decide(admission(rule(on_store_failure=policy)), StoreUnavailable("gone"))
    assert (outcome, Reason.STORE_UNAVAILABLE, True) == (decision.outcome, decision.reason, decision.degraded)


async def test_without_a_rule_the_call_is_allowed() -> None:
    """Nobody set a limit, so nothing is protected by refusing."""
    assert (await decide(admission(), StoreUnavailable("gone"))).allowed


async def test_before_any_rules_are_known_nothing_is_allowed() -> None:
    """A sidecar that has met neither store nor rules cannot tell a user without a limit from one with; it says so."""
    policy = FailurePolicy(StoreClock(), memory_allowance(lambda: NOON_MS), knows_rules=lambda: False)
    answer = await policy.decide(admission(), StoreUnavailable("gone"))
    assert (False, DENY) == (answer.allowed, answer.on_store_failure)


def with_allowance(number: int, nanos: int) -> Admission:
    """Return a call of alice under an allowance of 5 nano-dollars."""
    call = admission(rule(on_store_failure=ALLOWANCE))
    call.request_id, call.amount_nanos = str(number), nanos
    return call


async def test_a_local_allowance_allows_up_to_its_amount() -> None:
    """Landing on it exactly is allowed, the next call is not; all of them are told as degraded."""
    policy = policy_over_memory()
    answers = [await policy.decide(with_allowance(*call), StoreUnavailable("gone")) for call in enumerate((3, 3, 2, 1))]
    assert [True, False, True, False] == [answer.allowed for answer in answers]
    assert {(True, ALLOWANCE)} == {(answer.degraded, answer.on_store_failure) for answer in answers}


@pytest.mark.parametrize(
    ("operation", "actual", "nanos"),
    [
        (Operation.SETTLE, 1, 4),
        (Operation.SETTLE, None, 0),
        (Operation.RELEASE, None, 5),
        (Operation.EXTEND, None, 0),
    ],
)
async def test_what_a_call_did_not_need_is_free_again(operation: Operation, actual: int | None, nanos: int) -> None:
    """A settle counts its actual, a release nothing; without a price the estimate stands, and so it does for longer."""
    policy = policy_over_memory()
    await policy.decide(with_allowance(0, 5), StoreUnavailable("gone"))
    policy.settled(Resolution(operation=operation, user_id="alice", request_id="0", amount_nanos=actual))
    answers = [await policy.decide(with_allowance(n, 1), StoreUnavailable("gone")) for n in range(1, 7)]
    assert nanos == sum(answer.allowed for answer in answers)


async def test_a_refused_call_takes_nothing() -> None:
    """A model without a price is refused before anything is counted."""
    policy = policy_over_memory()
    refused = with_allowance(0, 5)
    refused.refusal = Reason.UNPRICED
    assert not (await policy.decide(refused, StoreUnavailable("gone"))).allowed
    assert (await policy.decide(with_allowance(1, 5), StoreUnavailable("gone"))).allowed


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StoreOverloaded("full"), Reason.OVERLOADED), (StoreUnavailable("gone"), Reason.STORE_UNAVAILABLE)],
)
async def test_the_reason_tells_our_own_queue_from_the_store(error: StoreError, reason: Reason) -> None:
    """An operator must know which of the two to look at."""
    assert reason is (await decide(admission(), error)).reason


async def test_stop_and_refusals_hold_without_the_store() -> None:
    """The emergency switch, and a model without a price, need no counter to refuse."""
    lenient = rule(action=Action.WARN, on_store_failure=ALLOW)
    stopped = await decide(admission(lenient, mode=Mode.STOP), StoreUnavailable("gone"))
    unpriced = await decide(admission(lenient, refusal=Reason.UNPRICED), StoreUnavailable("gone"))
    assert (False, False) == (stopped.allowed, unpriced.allowed)
