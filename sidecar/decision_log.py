"""One log line for each decision that an operator wants to see, with its request id; user ids as the settings say."""

import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import Any, Final

from ledger.decisions import Decision, Outcome, Settlement

WANTED: Final = {
    "none": frozenset[Outcome](),
    "blocked": frozenset({Outcome.BLOCK}),
    "acted": frozenset({Outcome.BLOCK, Outcome.WARN, Outcome.DRY_RUN}),
    "all": frozenset(Outcome),
}
"""What `SPENDGATE_LOG_DECISIONS` chooses; degraded ones are written with every choice but the first."""

HASH_LENGTH: Final = 16

log = logging.getLogger("spendgate.decisions")


def user_naming(kind: str, key: str | None) -> Callable[[str], dict[str, str]]:
    """Return how a user appears in the log: ``plain``, ``hashed`` (keyed, so that nobody guesses) or ``none``."""
    if kind == "plain":
        return lambda user_id: {"user_id": user_id}
    if kind == "none":
        return lambda _user_id: {}
    secret = (key or "").encode()

    def hashed(user_id: str) -> dict[str, str]:
        digest = hmac.new(secret, user_id.encode(), hashlib.sha256).hexdigest()
        return {"user_hash": digest[:HASH_LENGTH]}

    return hashed


class DecisionLog:
    """Writes decisions; `metrics` tells it of each."""

    def __init__(self, choice: str, name_user: Callable[[str], dict[str, str]]) -> None:
        self._wanted = WANTED[choice]
        self._name_user = name_user

    def decided(self, decision: Decision, seconds: float) -> None:
        """Write a decision if it is wanted."""
        if decision.outcome in self._wanted or decision.degraded:
            log.info(
                "%s %s: %s",
                decision.operation,
                decision.outcome,
                decision.reason,
                extra={"fields": self._fields(decision, seconds)},
            )

    def settled(self, _settlement: Settlement) -> None:
        """Write nothing: a settle decides nothing."""

    def _fields(self, decision: Decision, seconds: float) -> dict[str, Any]:
        decider = None if decision.decider is None else decision.budgets[decision.decider]
        return {
            "operation": decision.operation,
            "decision": decision.outcome,
            "reason": decision.reason,
            "request_id": decision.request_id,
            **self._name_user(decision.user_id),
            "tier": decision.tier,
            "rule_id": None if decider is None else decider.terms.rule_id,
            "rules_revision": decision.rules_revision,
            "degraded": decision.degraded,
            "replayed": decision.replayed,
            "ms": round(seconds * 1000, 3),
        }
