"""For the tests of apps: a sidecar in memory, which answers the real clients without a socket or a store.

::

    sidecar = FakeSidecar()
    sidecar.limit("user-42", limit_usd=5)
    gate = Spendgate(transport=sidecar)
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from spendgate._calls import moment_text
from spendgate._exchange import Reply, Unreachable
from spendgate.amounts import Amount, nanos_of, usd_text

__all__ = ["FakeSidecar", "Operation"]

TOKENS_PER_MILLION: Final = 1_000_000
TOKEN_FIELDS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What the sidecar was asked: the name of an operation, and its fields as they arrived."""

    name: str
    fields: Mapping[str, Any]


@dataclass(slots=True)
class _Budget:
    limit_nanos: int
    action: str
    thresholds: tuple[int, ...]
    spend_nanos: int = 0
    warned: set[int] = field(default_factory=set)


class FakeSidecar:
    """Decides as a sidecar does with one monthly budget a user. Not a ledger: no windows, no expiry, no price book.

    `operations` lists what it was asked. While `is_away` is true it does not answer. Tokens cost
    `usd_per_million_tokens`, whatever the model. Safe for threads.
    """

    def __init__(self, *, usd_per_million_tokens: Amount = 1) -> None:
        self.operations: list[Operation] = []
        self.is_away = False
        self.on_store_failure: Any = "deny"
        self._token_nanos = nanos_of(usd_per_million_tokens, name="usd_per_million_tokens")
        self._budgets: dict[str, _Budget] = {}
        self._holds: dict[tuple[str, str], int] = {}
        self._charges: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def limit(
        self, user_id: str, limit_usd: Amount, *, action: str = "block", thresholds: tuple[int, ...] = ()
    ) -> None:
        """Give a user a budget. `action` is ``block``, ``warn`` or ``dry_run``, `thresholds` are in percent."""
        self._budgets[user_id] = _Budget(nanos_of(limit_usd, name="limit_usd"), action, thresholds)

    def spend_usd(self, user_id: str) -> str:
        """Return what was charged to a user, as decimal text."""
        return usd_text(self._total(self._charges, user_id))

    def held_usd(self, user_id: str) -> str:
        """Return what is held for a user, as decimal text."""
        return usd_text(self._total(self._holds, user_id))

    def send(self, path: str, fields: Mapping[str, Any] | None = None) -> Reply:
        """Answer a request of a client."""
        with self._lock:
            name, asked = _operation(path, fields)
            self.operations.append(Operation(name=name, fields=asked))
            if self.is_away:
                raise Unreachable("the fake sidecar is away", sent=False)
            status, answer = self._answer(name, asked)
        return Reply.of_json(status, json.dumps(answer).encode())

    def close(self) -> None:
        """Do nothing: it serves any number of clients."""

    def _answer(self, name: str, fields: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        if name in {"check", "reserve"}:
            return 200, self._admit(name, fields)
        if name == "usage":
            return 200, self._usage(fields["user_id"])
        key = fields["user_id"], fields["request_id"]
        if name == "settle":
            return self._settle(key, fields)
        if key not in self._holds:
            return 404, {"code": "hold_not_found", "detail": "no hold under this request id"}
        if name == "release":
            del self._holds[key]
        return 200, self._settlement(key, "open" if name == "extend" else "released")

    def _admit(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        user_id, amount = fields["user_id"], self._amount(fields)
        key, budget = (user_id, fields["request_id"]), self._budgets.get(user_id)
        replayed = key in self._holds or key in self._charges
        used = self._total(self._charges, user_id) + self._total(self._holds, user_id)
        over = (
            budget is not None and (used >= budget.limit_nanos or amount > budget.limit_nanos - used) and not replayed
        )
        outcome = budget.action if over and budget is not None else "allow"
        if outcome != "block" and not replayed:
            (self._holds if name == "reserve" else self._charges)[key] = amount
        answer = {
            "decision": outcome,
            "allowed": outcome != "block",
            "would_block": outcome == "dry_run",
            "reason": "limit" if over else "no_rule" if budget is None else "under_limit",
            "request_id": key[1],
            "replayed": replayed,
            "user_id": user_id,
            "tier": fields.get("tier"),
            "on_store_failure": self.on_store_failure,
            **self._described(user_id, over=over),
        }
        held = {"reserved_at": moment_text(datetime.now(UTC)), "hold_state": "open"}
        return answer | held if name == "reserve" and outcome != "block" else answer

    def _settle(self, key: tuple[str, str], fields: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        amount = self._amount(fields)
        if key in self._charges and self._charges[key] != amount:
            return 409, {"code": "already_settled", "detail": "the first settle is final"}
        if key not in self._charges and key not in self._holds and "reserved_at" not in fields:
            return 404, {"code": "hold_not_found", "detail": "no hold under this request id"}
        self._holds.pop(key, None)
        self._charges[key] = amount
        return 200, self._settlement(key, "settled")

    def _settlement(self, key: tuple[str, str], state: str) -> dict[str, Any]:
        described = self._described(key[0], over=False)
        return {
            "decision": "warn" if described.get("warning") else "allow",
            "reason": "under_limit",
            "request_id": key[1],
            "user_id": key[0],
            "hold_state": state,
            "cost_usd": usd_text(self._charges.get(key, 0)),
            **described,
        }

    def _usage(self, user_id: str) -> dict[str, Any]:
        held = sum(user == user_id for user, _ in self._holds)
        at = moment_text(datetime.now(UTC))
        return {"user_id": user_id, "at": at, "open_holds": held, "windows": [], **self._described(user_id, over=False)}

    def _described(self, user_id: str, *, over: bool) -> dict[str, Any]:
        budget = self._budgets.get(user_id)
        if budget is None:
            return {"budgets": []}
        spend, held = self._total(self._charges, user_id), self._total(self._holds, user_id)
        percent = spend * 100 // budget.limit_nanos if budget.limit_nanos else 100
        line = {
            "rule_id": f"rule-{user_id}",
            "rule_kind": "user_override",
            "action": budget.action,
            "limit_usd": usd_text(budget.limit_nanos),
            "spend_usd": usd_text(spend),
            "held_usd": usd_text(held),
            "remaining_usd": _signed_text(budget.limit_nanos - spend - held),
            "percent": percent,
            "warning": _warning(budget, percent, over=over),
            **_this_month(),
        }
        return {**line, "budgets": [line]}

    def _amount(self, fields: Mapping[str, Any]) -> int:
        usage = fields.get("usage")
        if usage is None:
            return nanos_of(fields.get("cost_usd") or fields.get("estimate_usd") or 0, name="cost_usd")
        bounded = {"output_tokens": usage.get("max_output_tokens", 0)} | usage
        tokens = sum(int(bounded.get(name, 0)) for name in TOKEN_FIELDS)
        return -(-tokens * self._token_nanos // TOKENS_PER_MILLION)

    @staticmethod
    def _total(amounts: Mapping[tuple[str, str], int], user_id: str) -> int:
        return sum(amount for (user, _), amount in amounts.items() if user == user_id)


def _operation(path: str, fields: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    if fields is None:
        return "usage", {"user_id": unquote(path.partition("?")[0].removeprefix("/v1/usage/"))}
    return path.removeprefix("/v1/"), json.loads(json.dumps(fields))


def _warning(budget: _Budget, percent: int, *, over: bool) -> dict[str, Any] | None:
    """Return the warning of a budget: its limit under ``warn``, else the highest threshold that was reached."""
    threshold = max((pct for pct in budget.thresholds if percent >= pct), default=None)
    if over and budget.action == "warn":
        threshold = None
    elif threshold is None:
        return None
    mark = 0 if threshold is None else threshold
    first = mark not in budget.warned
    budget.warned.add(mark)
    return {"kind": "limit" if threshold is None else "threshold", "threshold_pct": threshold, "first": first}


def _signed_text(nanos: int) -> str:
    return f"-{usd_text(-nanos)}" if nanos < 0 else usd_text(nanos)


def _this_month() -> dict[str, str]:
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return {"window": "month", "window_start": moment_text(start), "resets_at": moment_text(after)}
