"""What is known of an open hold, and how it ends: shared by both kinds of holds, their finalizer and the heartbeat."""

import logging
import math
import os
import time
from dataclasses import dataclass, field
from typing import Any, Final

from spendgate import _calls
from spendgate._calls import DEFAULT_TTL_S, Call
from spendgate._policies import UNAVAILABLE
from spendgate.amounts import Amount
from spendgate.decisions import Decision
from spendgate.usage import Usage

BEATS_A_TTL: Final = 3


@dataclass(slots=True, kw_only=True, eq=False)
class HoldState:
    """One reserve of this process. `is_held`: the ledger holds an amount, so the hold is kept alive.

    `next_beat_s` is when it is extended next, on the monotonic clock.
    """

    decision: Decision
    reserve: Call
    ttl_s: int
    is_held: bool
    next_beat_s: float = 0.0
    noted: Usage | None = None
    noted_cost: Amount | None = None
    pid: int = field(default_factory=os.getpid)
    _ends: list[bool] = field(default_factory=lambda: [True])

    @classmethod
    def of(cls, reserve: Call, decision: Decision) -> "HoldState":
        """Return the state of a hold that was just made. One that was decided without the ledger holds nothing."""
        ttl_s = reserve.fields.get("ttl_s", DEFAULT_TTL_S)
        return cls(decision=decision, reserve=reserve, ttl_s=ttl_s, is_held=not decision.degraded)

    def __post_init__(self) -> None:
        self.beat_after(self.ttl_s / BEATS_A_TTL if self.is_held else math.inf)

    def __str__(self) -> str:
        return f"hold {self.decision.request_id} of user {self.decision.user_id}"

    def beat_after(self, seconds: float) -> None:
        """Extend the hold next in so many seconds."""
        self.next_beat_s = time.monotonic() + seconds

    @property
    def is_open(self) -> bool:
        """Nobody ended it yet."""
        return bool(self._ends)

    def end(self) -> bool:
        """Say whether the caller is the one who ends it. Popping is atomic and, unlike a lock, safe in a finalizer."""
        try:
            return self._ends.pop()
        except IndexError:
            return False

    def reopen(self) -> None:
        """Undo an `end` after which the sidecar refused the request as such."""
        self._ends.append(True)

    def note(self, usage: Usage | None, cost_usd: Amount | None) -> None:
        """Remember what is known so far; raises `ValueError` for what could not be settled."""
        self.actual(cost_usd, usage)
        self.noted, self.noted_cost = usage, cost_usd

    def actual(self, cost_usd: Amount | None, usage: Usage | None) -> Call:
        """Return the settle of a known actual; raises `ValueError` for what is none."""
        decision, fields = self.decision, self.reserve.fields
        return _calls.settle(
            decision.user_id,
            decision.request_id,
            cost_usd,
            usage,
            reserved_at=decision.reserved_at or self.reserve.made_at,
            tier=fields.get("tier"),
            group=fields.get("group"),
        )

    def actual_or_noted(self, cost_usd: Amount | None, usage: Usage | None) -> Call:
        """Return the settle of what is given, else of what was noted; raises `ValueError` without either."""
        if cost_usd is None and usage is None:
            cost_usd, usage = self.noted_cost, self.noted
        return self.actual(cost_usd, usage)

    def known(self) -> Call | None:
        """Return the settle of what was noted."""
        if self.noted is None and self.noted_cost is None:
            return None
        return self.actual(self.noted_cost, self.noted)

    def estimated(self) -> Call | None:
        """Return the settle of the estimate, where this process knows it: an amount, or tokens with a bound."""
        fields = self.reserve.fields
        if "estimate_usd" in fields:
            return self.actual(fields["estimate_usd"], None)
        usage: dict[str, Any] = dict(fields["usage"])
        bound = usage.pop("max_output_tokens", None)
        usage.pop("estimate", None)
        output_tokens = usage.pop("output_tokens", bound)
        return None if output_tokens is None else self.actual(None, Usage(output_tokens=output_tokens, **usage))

    def ending(self, *, outcome_unknown: bool) -> tuple[Call | None, str]:
        """Return how an end without a settle is settled, with what the log says; None leaves it to its expiry.

        What no sidecar answered for may be held nowhere, so nothing would expire: its estimate is settled either way.
        """
        known = self.known()
        if known is not None:
            return known, "settled with what was noted"
        expires = self.decision.reason != UNAVAILABLE
        estimated = None if outcome_unknown and expires else self.estimated()
        if estimated is not None:
            return estimated, "settled with its estimate: nothing was noted"
        if expires:
            return None, "left to its expiry: its outcome is not known"
        return None, "NOT CHARGED: nothing was noted, its estimate has no bound, and no sidecar knows of it"

    def ending_level(self, call: Call | None) -> int:
        """Return how loudly an end without a settle is logged."""
        return logging.WARNING if call is None else logging.INFO

    def release(self) -> Call:
        """Return the release: the call never happened."""
        return _calls.resolution("release", self.decision.user_id, self.decision.request_id)

    def extend(self, ttl_s: int) -> Call:
        """Return what moves the deadline."""
        return _calls.resolution("extend", self.decision.user_id, self.decision.request_id, ttl_s=ttl_s)
