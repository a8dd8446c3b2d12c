"""Counts and money of a replay, for one tier or for all."""

from collections.abc import Mapping
from dataclasses import dataclass

from cli.amounts import cents_text
from ledger.errors import InvalidInput
from ledger.money import parse_usd, usd_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Closest:
    """A user's spend against a limit in a window, nano-USD; `limit_nanos` is above zero."""

    user_id: str
    spend_nanos: int
    limit_nanos: int
    window: str

    @classmethod
    def of(cls, answer: Mapping[str, object]) -> "Closest | None":
        """Read the deciding budget of a sidecar's answer; None without a limit above zero."""
        try:
            limit_nanos = parse_usd(answer.get("limit_usd"), field="limit_usd")
            spend_nanos = parse_usd(answer.get("spend_usd"), field="spend_usd")
        except InvalidInput:
            return None
        if limit_nanos == 0:
            return None
        return cls(
            user_id=str(answer.get("user_id")),
            spend_nanos=spend_nanos,
            limit_nanos=limit_nanos,
            window=str(answer.get("window")),
        )

    def is_closer_than(self, other: "Closest") -> bool:
        """Compare the shares of the limits, exactly."""
        return self.spend_nanos * other.limit_nanos > other.spend_nanos * self.limit_nanos

    @property
    def share_text(self) -> str:
        """The user and the share of the limit, short enough for a cell."""
        return f"{self.user_id} {self.spend_nanos * 100 // self.limit_nanos} %"

    @property
    def text(self) -> str:
        """The user, the share, and the amounts with their window."""
        spend, limit = cents_text(self.spend_nanos), cents_text(self.limit_nanos)
        return f"{self.share_text} (${spend} of ${limit} a {self.window})"

    def document(self) -> dict[str, object]:
        """The JSON form, amounts as exact decimal strings."""
        return {
            "user_id": self.user_id,
            "spend_usd": usd_text(self.spend_nanos),
            "limit_usd": usd_text(self.limit_nanos),
            "window": self.window,
        }


@dataclass(slots=True)
class Tally:
    """Counts and money of a tier, or of all. Each call ends in exactly one of the five outcomes."""

    allowed: int = 0
    warned: int = 0
    dry_run: int = 0
    blocked: int = 0
    failed: int = 0
    settled_nanos: int = 0
    closest: Closest | None = None

    @property
    def calls(self) -> int:
        """All calls, failed ones too."""
        return self.allowed + self.warned + self.dry_run + self.blocked + self.failed

    def count(self, decision: str) -> None:
        """Count a finished call by the decision of its reserve."""
        match decision:
            case "allow":
                self.allowed += 1
            case "warn":
                self.warned += 1
            case "dry_run":
                self.dry_run += 1
            case "block":
                self.blocked += 1
            case _:
                raise ValueError(f"unknown decision {decision!r}")

    def watch(self, closest: Closest | None) -> None:
        """Keep the user who stands closest to a limit, or furthest past it."""
        if closest is not None and (self.closest is None or closest.is_closer_than(self.closest)):
            self.closest = closest

    def add(self, other: "Tally") -> None:
        """Add another tier's tally to this one."""
        self.allowed += other.allowed
        self.warned += other.warned
        self.dry_run += other.dry_run
        self.blocked += other.blocked
        self.failed += other.failed
        self.settled_nanos += other.settled_nanos
        self.watch(other.closest)

    def document(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "calls": self.calls,
            "allowed": self.allowed,
            "warned": self.warned,
            "dry_run": self.dry_run,
            "blocked": self.blocked,
            "failed": self.failed,
            "settled_usd": usd_text(self.settled_nanos),
            "closest_to_limit": self.closest.document() if self.closest else None,
        }
