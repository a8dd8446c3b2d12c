"""What both clients share: requests in, decisions or errors out. Nothing here waits or touches a socket."""

import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from spendgate import _forks
from spendgate._answers import (
    NotASidecar,
    read_decision,
    read_settlement,
    read_usage,
)
from spendgate._breaker import Breaker
from spendgate._calls import Call
from spendgate._exchange import Reply, Unreachable
from spendgate._policies import Fail, FailurePolicies
from spendgate.budget_warning import WarningGate
from spendgate.decisions import Decision, Settlement, UserUsage
from spendgate.errors import LLMBudgetExceededError, SpendgateRequestError, SpendgateUnavailableError

ANSWERED: Final = range(200, 300)
"""200, and what a sidecar may answer that has taken a settle without its store."""
SERVER_ERROR: Final = 500

log = logging.getLogger("spendgate")


class Core:
    """Interprets answers, and decides where there is none. One for each client."""

    def __init__(self, *, fail: Fail, every_call: bool) -> None:
        self.policies = FailurePolicies(fail)
        self.warnings = WarningGate(every_call=every_call)
        self.breaker = Breaker()
        _forks.join(self)

    def after_fork(self) -> None:
        """Take locks that no thread of the parent holds."""
        self.policies.after_fork()
        self.warnings.after_fork()
        self.breaker.after_fork()

    def decide(self, call: Call, reply: Reply | Unreachable) -> Decision:
        """Return the decision about a check or reserve, a block too.

        Without an answer the failure policy decides; raises `SpendgateUnavailableError` if it says deny, and
        `SpendgateRequestError` for a request that the sidecar refuses as such.
        """
        try:
            decision = read_decision(_document(reply))
        except (Unreachable, NotASidecar) as error:
            return self._degraded(call, error)
        self.policies.learn(decision)
        return decision

    def _degraded(self, call: Call, error: Exception) -> Decision:
        decision = self.policies.decide(call)
        word = "allowed" if decision.allowed else "denied"
        log.warning("%s was %s without its sidecar: %s", call, word, error)
        if not decision.allowed:
            message = f"the {call.operation} was denied, because the sidecar gave no answer: {error}"
            raise SpendgateUnavailableError(message, user_id=call.user_id, request_id=call.request_id) from error
        return decision

    def settled(self, call: Call, reply: Reply | Unreachable) -> Settlement:
        """Return the answer to a settle, release or extend.

        Raises `SpendgateUnavailableError` if there is none, and `SpendgateRequestError` for a refused request.
        """
        try:
            return read_settlement(_document(reply))
        except (Unreachable, NotASidecar) as error:
            message = f"the {call.operation} was not answered: {error}"
            raise SpendgateUnavailableError(message, user_id=call.user_id, request_id=call.request_id) from error

    def used(self, user_id: str, reply: Reply | Unreachable) -> UserUsage:
        """Return a user's usage; raises like `settled`."""
        try:
            return read_usage(_document(reply))
        except (Unreachable, NotASidecar) as error:
            raise SpendgateUnavailableError(f"the usage was not answered: {error}", user_id=user_id) from error


def usage_path(user_id: str, tier: str | None) -> str:
    """Return the path of a user's usage."""
    query = "" if tier is None else f"?{urlencode({'tier': tier})}"
    return f"/v1/usage/{quote(user_id, safe='')}{query}"


def raise_for_block(decision: Decision) -> None:
    """Raise `LLMBudgetExceededError` for a block; tell the log what a dry run would have blocked."""
    if not decision.allowed:
        raise LLMBudgetExceededError(decision)
    if decision.would_block:
        log.warning(
            "dry run: user %s would have been blocked by %s: $%s spent of $%s a %s",
            *(decision.user_id, decision.rule_id, decision.spend_usd, decision.limit_usd, decision.window),
        )


def _document(reply: Reply | Unreachable) -> Mapping[str, Any]:
    """Return a 200's document; raises `SpendgateRequestError` for a refusal, and what it is for no answer."""
    if isinstance(reply, Unreachable):
        raise reply
    document = reply.document
    if document is None:
        raise NotASidecar("the answer is no JSON object")
    if reply.status in ANSWERED:
        return document
    if "code" not in document:
        raise NotASidecar(f"status {reply.status} without a problem's code")
    if reply.status >= SERVER_ERROR:
        raise Unreachable(f"the sidecar cannot serve: {document.get('detail')} ({document['code']})", sent=True)
    raise SpendgateRequestError.of(reply.status, document)
