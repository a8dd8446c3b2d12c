"""What a caller is told when the store cannot be asked."""

import pytest

from ledger.decisions import Decision, Operation, Outcome, Reason
from ledger.errors import StoreError, StoreOverloaded, StoreUnavailable
from ledger.operations import Admission
from ledger.plans import compile_plan
from ledger.rules import ALLOW, DENY, Action, Mode, Policy, PolicyKind, Rule
from sidecar.failure_policy import FailurePolicy
from sidecar.store_clock import StoreClock
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


def decide(call: Admission, error: StoreError) -> Decision:
    """Return what a sidecar answers by itself."""
    return FailurePolicy(StoreClock()).decide(call, error)


@pytest.mark.parametrize(("policy", "outcome"), [(ALLOW, Outcome.ALLOW), (DENY, Outcome.BLOCK)])
def test_the_rule_decides(policy: Policy, outcome: Outcome) -> None:
    """Whatever its action, `on_store_failure` is what the operator chose."""
    decision = decide(admission(rule(on_store_failure=policy)), StoreUnavailable("gone"))
    assert (outcome, Reason.STORE_UNAVAILABLE, True) == (decision.outcome, decision.reason, decision.degraded)


def test_without_a_rule_the_call_is_allowed() -> None:
    """Nobody set a limit, so nothing is protected by refusing."""
    assert decide(admission(), StoreUnavailable("gone")).allowed


def test_a_local_allowance_denies_until_it_can_be_counted() -> None:
    """Allowing without counting would be an allowance without an end."""
    decision = decide(admission(rule(on_store_failure=ALLOWANCE)), StoreUnavailable("gone"))
    assert not decision.allowed


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StoreOverloaded("full"), Reason.OVERLOADED), (StoreUnavailable("gone"), Reason.STORE_UNAVAILABLE)],
)
def test_the_reason_tells_our_own_queue_from_the_store(error: StoreError, reason: Reason) -> None:
    """An operator must know which of the two to look at."""
    assert reason is decide(admission(), error).reason


def test_stop_and_refusals_hold_without_the_store() -> None:
    """The emergency switch, and a model without a price, need no counter to refuse."""
    lenient = rule(action=Action.WARN, on_store_failure=ALLOW)
    stopped = decide(admission(lenient, mode=Mode.STOP), StoreUnavailable("gone"))
    unpriced = decide(admission(lenient, refusal=Reason.UNPRICED), StoreUnavailable("gone"))
    assert (False, False) == (stopped.allowed, unpriced.allowed)
