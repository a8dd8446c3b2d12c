"""Who makes the calls of a replay: users by Zipf's law, each with one tier, all drawn from a seed."""

from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

MAX_USERS: Final = 1_000_000


class PopulationError(Exception):
    """The tiers or the number of users make no population."""


@dataclass(frozen=True, slots=True)
class TierShares:
    """Tiers and the share of users each has; the shares are weights and need not add up to 1."""

    names: tuple[str, ...]
    weights: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> "TierShares":
        """Read ``free:0.7,pro:0.25,team:0.05``. Raises `PopulationError`."""
        pairs = [part.rpartition(":") for part in text.split(",")]
        try:
            weights = tuple(float(weight) for _, _, weight in pairs)
        except ValueError:
            raise PopulationError(f"{text!r} is not of the form free:0.7,pro:0.3") from None
        names = tuple(name.strip() for name, _, _ in pairs)
        if not all(names) or len(set(names)) < len(names):
            raise PopulationError(f"{text!r} must name each tier once")
        if not all(0 <= weight < float("inf") for weight in weights) or sum(weights) <= 0:
            raise PopulationError(f"{text!r} must have shares of at least 0, one of them above")
        return cls(names=names, weights=weights)


@dataclass(frozen=True, slots=True)
class Caller:
    """A user of a replay."""

    user_id: str
    tier: str


class Population:
    """Draws the caller of each call. The same seed and sizes draw the same callers in the same order."""

    def __init__(self, *, users: int, zipf: float, tiers: TierShares, seed: int) -> None:
        if not 1 <= users <= MAX_USERS:
            raise PopulationError(f"the number of users must be 1 to {MAX_USERS:,}")
        self._callers = _callers(users, tiers, Random(f"tiers of {seed}"))  # noqa: S311 - a simulation
        self._cumulative = list(accumulate(1.0 / rank**zipf for rank in range(1, users + 1)))
        self._random = Random(f"callers of {seed}")  # noqa: S311 - a simulation

    def draw(self) -> Caller:
        """Return the next caller: the user of rank k is drawn in proportion to 1 / k^zipf."""
        point = self._random.random() * self._cumulative[-1]
        return self._callers[min(bisect(self._cumulative, point), len(self._callers) - 1)]


def _callers(users: int, tiers: TierShares, random: Random) -> list[Caller]:
    bounds = list(accumulate(tiers.weights))
    width = len(str(users))
    callers = []
    for number in range(1, users + 1):
        index = min(bisect(bounds, random.random() * bounds[-1]), len(bounds) - 1)
        callers.append(Caller(user_id=f"user-{number:0{width}d}", tier=tiers.names[index]))
    return callers
