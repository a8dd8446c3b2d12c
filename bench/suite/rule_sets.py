"""The rules that the sidecars of the suite have: limits far away, but for a tier whose limit is used up."""

import json
from pathlib import Path
from typing import Any, Final

FAR_USD: Final = 1_000_000
SPENT_TIER: Final = "spent"
SMALL_OVERRIDES: Final = 10
LARGE_OVERRIDES: Final = 100_000
TEMPLATES: Final = 2
"""Rules of a set beside its overrides."""
ZONES: Final = ("America/New_York", "Asia/Kolkata", "Asia/Tokyo")


def template(tier: str, **fields: Any) -> dict[str, Any]:
    """Return a daily limit of a tier."""
    rule = {"kind": "tier_template", "key": tier, "limit_usd": FAR_USD, "window": "day", "action": "block"}
    return {**rule, **fields}


def override(number: int) -> dict[str, Any]:
    """Return a daily limit of one user."""
    rule = {"kind": "user_override", "key": f"user-{number:06d}", "limit_usd": FAR_USD, "window": "day"}
    return {**rule, "action": "block"}


def rules(overrides: int = 0, **fields: Any) -> list[dict[str, Any]]:
    """Return the tier's template (with these fields), that of the tier whose limit is used up, and overrides."""
    spent = template(SPENT_TIER, limit_usd=0.0001)
    return [template("pro", **fields), spent, *[override(number) for number in range(overrides)]]


def zoned(zones: int) -> list[dict[str, Any]]:
    """Return a tier with a limit a day, week and month, so many of them in zones of their own.

    Each zone has three counters of a user, beside the three of the workspace's.
    """
    windows = ("day", "week", "month")
    chosen = [*ZONES[:zones], *["UTC"] * (len(windows) - zones)]
    return [template("pro", window=window, timezone=zone) for window, zone in zip(windows, chosen, strict=True)]


def write(path: Path, listed: list[dict[str, Any]]) -> Path:
    """Write a rule file."""
    path.write_text(json.dumps({"rules": listed}))
    return path
