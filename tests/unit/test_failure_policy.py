"""What a caller is told when the store cannot be asked."""

import pytest

from ledger.decisions import Operation, Outcome, Reason
from ledger.errors import StoreError, StoreOverloaded, StoreUnavailable
from ledger.operations import Admission
from ledger.plans import compile_plan
from ledger.rules import ALLOW, DENY, Action, Mode, Policy, PolicyKind, Rule
from sidecar.failure_policy import degraded_decision
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


@pytest.mark.parametrize(("policy", "outcome"), [(ALLOW, Outcome.ALLOW), (DENY, Outcome.BLOCK)])
def test_the_rule_decides(policy: Policy, outcome: Outcome) -> None:
    """Whatever its action, `on_store_failure` is what the operator chose."""
    decision = degraded_decision(admission(rule(on_store_failure=policy)), StoreUnavailable("gone"), NOON_MS)
    assert (outcome, Reason.STORE_UNAVAILABLE, True) == (decision.outcome, decision.reason, decision.degraded)


def test_without_a_rule_the_call_is_allowed() -> None:
    """Nobody set a limit, so nothing is protected by refusing."""
    assert degraded_decision(admission(), StoreUnavailable("gone"), NOON_MS).allowed


def test_a_local_allowance_denies_until_it_can_be_counted() -> None:
    """Allowing without counting would be an allowance without an end."""
    decision = degraded_decision(admission(rule(on_store_failure=ALLOWANCE)), StoreUnavailable("gone"), NOON_MS)
    assert not decision.allowed


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StoreOverloaded("full"), Reason.OVERLOADED), (StoreUnavailable("gone"), Reason.STORE_UNAVAILABLE)],
)
def test_the_reason_tells_our_own_queue_from_the_store(error: StoreError, reason: Reason) -> None:
    """An operator must know which of the two to look at."""
    assert reason is degraded_decision(admission(), error, NOON_MS).reason


def test_stop_and_refusals_hold_without_the_store() -> None:
    """The emergency switch, and a model without a price, need no counter to refuse."""
    lenient = rule(action=Action.WARN, on_store_failure=ALLOW)
    stopped = degraded_decision(admission(lenient, mode=Mode.STOP), StoreUnavailable("gone"), NOON_MS)
    unpriced = degraded_decision(admission(lenient, refusal=Reason.UNPRICED), StoreUnavailable("gone"), NOON_MS)
    assert (False, False) == (stopped.allowed, unpriced.allowed)
