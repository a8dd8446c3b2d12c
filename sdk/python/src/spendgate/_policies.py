"""What a client answers when its sidecar does not: the failure policy last told for the user, else its own choice."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from spendgate._calls import Call
from spendgate.amounts import nanos_of
from spendgate.decisions import Decision, StorePolicy

MAX_USERS: Final = 10_000
"""Of more users, those that called longest ago are forgotten."""

UNAVAILABLE: Final = "sidecar_unavailable"
"""The reason of a decision that this client made by itself."""

Fail = Literal["closed", "open"]


@dataclass(slots=True)
class _Told:
    """The policy last told for a user, and what of an allowance this process has given since `until` was set."""

    policy: StorePolicy
    until: datetime | None
    given_nanos: int = 0


class FailurePolicies:
    """The last `on_store_failure` of each user. Safe for threads."""

    def __init__(self, fail: Fail) -> None:
        if fail not in ("closed", "open"):
            raise ValueError(f"fail must be 'closed' or 'open', not {fail!r}")
        self._fail = fail
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Take a lock that no thread of the parent holds."""
        self._lock = threading.Lock()

    def learn(self, decision: Decision) -> None:
        """Remember the policy that came with a decision of the sidecar."""
        policy = decision.on_store_failure
        if policy is None:
            return
        with self._lock:
            known = self._told.pop(decision.user_id, None)
            told = _Told(policy, decision.resets_at)
            if known is not None and (decision.resets_at is None or known.until == decision.resets_at):
                told.given_nanos, told.until = known.given_nanos, known.until
            self._told[decision.user_id] = told
            if len(self._told) > MAX_USERS:
                self._told.popitem(last=False)

    def decide(self, call: Call) -> Decision:
        """Return the degraded decision about a check or a reserve that the sidecar did not answer."""
        allowed = self._allows(call)
        return Decision(
            decision="allow" if allowed else "block",
            allowed=allowed,
            reason=UNAVAILABLE,
            request_id=call.request_id,
            degraded=True,
            user_id=call.user_id,
            tier=call.fields.get("tier"),
            reserved_at=call.made_at if allowed and call.operation == "reserve" else None,
        )

    def _allows(self, call: Call) -> bool:
        with self._lock:
            told = self._told.get(call.user_id)
            if told is None:
                return self._fail == "open"
            if isinstance(told.policy, Mapping):
                return _within_allowance(told, call.amount_nanos)
            return told.policy == "allow"


def _within_allowance(told: _Told, amount_nanos: int | None) -> bool:
    """Count an amount against the allowance. Tokens have no price here, so what they cost is never within it."""
    if amount_nanos is None or not isinstance(told.policy, Mapping):
        return False
    if told.until is not None and told.until <= datetime.now(UTC):
        told.given_nanos, told.until = 0, None
    allowance = nanos_of(told.policy.get("allow_up_to_usd", 0), name="allow_up_to_usd")
    if told.given_nanos + amount_nanos > allowance:
        return False
    told.given_nanos += amount_nanos
    return True
