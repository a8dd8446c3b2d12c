"""The price book: what a usage costs, in whole nano-USD. An unknown model is a state of its own, never a silent zero.

A book has the models of a source and, before them, the operator's overrides. Finding the price that a name means is
slow and is remembered; pricing is a look-up and a few multiplications.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ledger.model_names import NameIndex, Pattern, Provider, ProviderNames, by_provider, spellings
from ledger.rates import Row, Schedule, nanos_of
from ledger.usage import Usage

MAX_FOUND: Final = 4096
"""So many names are remembered; then all are forgotten."""
DAY_S: Final = 24 * 3600


class Priced(NamedTuple):
    """What a usage costs, and the version of the price book that says so."""

    nanos: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """Another price from a moment on (Unix milliseconds), or each day between two seconds of the UTC day."""

    schedule: Schedule
    from_ms: int | None = None
    daily_from_s: int | None = None
    daily_until_s: int | None = None

    def holds(self, at_ms: int) -> bool:
        """Say whether the change is in force at a moment."""
        if self.from_ms is not None and at_ms < self.from_ms:
            return False
        start_s, end_s = self.daily_from_s, self.daily_until_s
        if start_s is None or end_s is None:
            return True
        second = at_ms // 1000 % DAY_S
        if end_s < start_s:
            return second >= start_s or second < end_s
        return start_s <= second < end_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """What a model costs. Without a `provider` the price serves every provider; `names` are patterns.

    Of the changes the last one that holds counts, else `schedule`. `context_tokens` bounds prompt and output together,
    `max_output_tokens` the output, where they are known.
    """

    model: str
    schedule: Schedule
    provider: str | None = None
    names: tuple[Pattern, ...] = ()
    changes: tuple[PriceChange, ...] = ()
    context_tokens: int | None = None
    max_output_tokens: int | None = None

    @property
    def name(self) -> str:
        """The name under which the model is shown."""
        return self.model if self.provider is None else f"{self.provider}/{self.model}"


class FoundPrice:
    """A model's price, ready to multiply."""

    __slots__ = ("_changes", "_rows", "model")

    def __init__(self, model: ModelPrice) -> None:
        self.model = model
        self._rows = model.schedule.compiled()
        self._changes = [(change, change.schedule.compiled()) for change in reversed(model.changes)]

    def cost_nanos(self, usage: Usage, output_tokens: int, at_ms: int) -> int | None:
        """Return what a usage costs at a moment, rounded up; None if it has output and the model no price for it."""
        total = self.row(usage, at_ms).total(usage, output_tokens)
        return None if total is None else nanos_of(total)

    def worst_nanos(self, usage: Usage, output_tokens: int, at_ms: int) -> int | None:
        """Return the most that so many tokens can cost, whatever kinds they are of; None as for `cost_nanos`."""
        total = self.row(usage, at_ms).worst_total(usage, output_tokens)
        return None if total is None else nanos_of(total)

    def row(self, usage: Usage, at_ms: int) -> Row:
        """Return the rates for a prompt of this length at a moment."""
        rows = self._rows
        for change, changed in self._changes:
            if change.holds(at_ms):
                rows = changed
                break
        if len(rows) == 1:
            return rows[0]
        length = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        return next(row for row in rows if length > row.above_input_tokens)


class _Layer:
    """Prices of one origin, found by provider and name. `resellers` serve other providers' models."""

    def __init__(self, prices: Sequence[ModelPrice], resellers: frozenset[str]) -> None:
        self._prices = prices
        self._by_provider: dict[str | None, tuple[list[int], NameIndex]] = {
            provider: (
                indexes,
                NameIndex([prices[index].names for index in indexes], [prices[index].model for index in indexes]),
            )
            for provider, indexes in by_provider([price.provider for price in prices]).items()
        }
        self._agreed: dict[str, ModelPrice | None] = {}
        for indexes, names in self._by_provider.values():
            for name, index in names.exact:
                price = prices[indexes[index]]
                self._agreed[name] = _agreed(self._agreed.get(name, price), price, resellers)

    def find_agreed(self, name: str) -> ModelPrice | None:
        """Return the price on which all providers agree that have a model of this very name, None without one."""
        return self._agreed.get(name)

    def find(self, provider: str | None, name: str) -> ModelPrice | None:
        indexes, names = self._by_provider.get(provider, ((), None))
        index = None if names is None else names.find(name)
        return None if index is None else self._prices[indexes[index]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """All prices, under a version that each charge is recorded with. `built_ms` tells how old they are."""

    version: str = ""
    source: str = ""
    built_ms: int | None = None
    providers: tuple[Provider, ...] = ()
    models: tuple[ModelPrice, ...] = field(default=(), repr=False)
    overrides: tuple[ModelPrice, ...] = field(default=(), repr=False)
    _layers: tuple[_Layer, ...] = field(init=False, repr=False, compare=False)
    _providers: ProviderNames = field(init=False, repr=False, compare=False)
    _found: dict[tuple[str | None, str], FoundPrice | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        prices = (*self.overrides, *self.models)
        mentioned = [price.provider for price in prices if price.provider is not None]
        resellers = frozenset(provider.id for provider in self.providers if provider.serves)
        object.__setattr__(self, "_layers", tuple(_Layer(own, resellers) for own in (self.overrides, self.models)))
        object.__setattr__(self, "_providers", ProviderNames(self.providers, mentioned))

    @property
    def count(self) -> int:
        """How many models have a price."""
        return len(self.models) + len(self.overrides)

    def price(self, usage: Usage, at_ms: int) -> Priced | None:
        """Return what a usage costs at a moment, Unix milliseconds; None if there is no price for it."""
        found = self.find(usage.provider, usage.model)
        if found is None:
            return None
        nanos = found.cost_nanos(usage, usage.output_tokens, at_ms)
        return None if nanos is None else Priced(nanos, self.version)

    def find(self, provider: str | None, model: str) -> FoundPrice | None:
        """Return the price that a name means, None for an unknown one."""
        key = (provider, model)
        try:
            return self._found[key]
        except KeyError:
            found = self._resolve(provider, model)
        if len(self._found) >= MAX_FOUND:
            self._found.clear()
        self._found[key] = None if found is None else FoundPrice(found)
        return self._found[key]

    def _resolve(self, provider: str | None, model: str) -> ModelPrice | None:
        for owner, name in self._providers.readings(provider, model):
            for spelling in spellings(name):
                for owner_id in _owners(owner):
                    for layer in self._layers:
                        found = layer.find(owner_id, spelling) or layer.find(None, spelling)
                        if found is not None:
                            return found
        return self._agreed(model) if provider is None else None

    def _agreed(self, model: str) -> ModelPrice | None:
        """Return the price of a name that tells no provider, if it is the same with all that have it."""
        for spelling in spellings(model.lower()):
            for layer in self._layers:
                found = layer.find_agreed(spelling)
                if found is not None:
                    return found
        return None


NO_PRICES: Final = PriceBook()


def _agreed(known: ModelPrice | None, price: ModelPrice, resellers: frozenset[str]) -> ModelPrice | None:
    """Return one of two prices that are alike, rather the one of no reseller; None if they differ."""
    if known is None or (known.schedule, known.changes) != (price.schedule, price.changes):
        return None
    return price if known.provider in resellers else known


def _owners(provider: Provider | None) -> Iterator[str | None]:
    """Yield the provider itself, then those whose models it serves."""
    if provider is None:
        yield None
        return
    yield provider.id.lower()
    yield from (name.lower() for name in provider.serves)
