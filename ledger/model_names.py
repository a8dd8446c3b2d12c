"""Model names: which price a name means, with aliases, dated ids and providers' prefixes. The slow part of a price.

Names are compared without case. A pattern is a name, in which ``*`` stands for any text, or a regular expression
between slashes; of several patterns in a list one must match, of several in a list inside it all.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final

Pattern = str | tuple[str, ...]
Matcher = Callable[[str], bool]

ANY_TEXT: Final = "*"
REGEX_MARK: Final = "/"
ROUTER: Final = "litellm"
"""Names no provider of models; what it passes on begins with the provider's name."""

_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_LAST_DATE: Final = re.compile(r"[-@](20\d\d-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01]))$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider: patterns of its other names, of the models that are its own, and whose models it serves as well."""

    id: str
    names: tuple[Pattern, ...] = ()
    models: tuple[Pattern, ...] = ()
    serves: tuple[str, ...] = ()


class NameIndex:
    """Finds the first of many entries that a name matches, without trying each. `ids` are names, never patterns."""

    def __init__(self, entries: Sequence[Sequence[Pattern]], ids: Sequence[str] = ()) -> None:
        self._exact: dict[str, int] = {}
        for index, entry_id in enumerate(ids):
            self._exact.setdefault(entry_id.lower(), index)
        self._matchers: list[tuple[int, Matcher]] = []
        for index, patterns in enumerate(entries):
            for pattern in patterns:
                if isinstance(pattern, str) and is_exact(pattern):
                    name = pattern.lower()
                    self._exact[name] = min(index, self._exact.get(name, index))
                else:
                    self._matchers.append((index, matcher(pattern)))

    @property
    def exact(self) -> Iterable[tuple[str, int]]:
        """The plain names, in small letters, each with the index of its entry."""
        return self._exact.items()

    def find(self, name: str) -> int | None:
        """Return the index of the first entry that matches a name in small letters, None if none does."""
        first = self._exact.get(name)
        for index, matches in self._matchers:
            if first is not None and index >= first:
                break
            if matches(name):
                return index
        return first


def is_exact(pattern: str) -> bool:
    """Say whether a pattern is a plain name."""
    return ANY_TEXT not in pattern and not is_regex(pattern)


def is_regex(pattern: str) -> bool:
    """Say whether a pattern is a regular expression between slashes."""
    return len(pattern) > 1 and pattern[0] == pattern[-1] == REGEX_MARK


def matcher(pattern: Pattern) -> Matcher:
    """Return what tells whether a name in small letters matches. Raises `re.error` for a bad regular expression."""
    if not isinstance(pattern, str):
        matchers = [matcher(part) for part in pattern]
        return lambda name: all(matches(name) for matches in matchers)
    if is_regex(pattern):
        return partial(_searches, re.compile(pattern[1:-1]))
    text = pattern.lower()
    inside = text.strip(ANY_TEXT)
    if ANY_TEXT in inside:
        return partial(_searches, re.compile("^" + ".*".join(map(re.escape, text.split(ANY_TEXT))) + "$"))
    starts, ends = text.startswith(ANY_TEXT), text.endswith(ANY_TEXT)
    if starts and ends:
        return lambda name: inside in name
    if starts:
        return lambda name: name.endswith(inside)
    return (lambda name: name.startswith(inside)) if ends else inside.__eq__


def _searches(expression: re.Pattern[str], name: str) -> bool:
    return expression.search(name) is not None


class ProviderNames:
    """Knows providers by their names and their models' names."""

    def __init__(self, providers: Sequence[Provider], mentioned: Sequence[str] = ()) -> None:
        known = {provider.id.lower() for provider in providers}
        others = [Provider(id=name) for name in dict.fromkeys(map(str.lower, mentioned)) if name not in known]
        self._providers = [*providers, *others]
        self._by_id = {provider.id.lower(): provider for provider in self._providers}
        self._by_name = NameIndex([provider.names for provider in self._providers])
        self._by_model = NameIndex([provider.models for provider in self._providers])

    def named(self, name: str) -> Provider | None:
        """Return the provider that a name means: its id, else one of its other names."""
        name = name.lower().strip()
        if provider := self._by_id.get(name):
            return provider
        index = self._by_name.find(name)
        return None if index is None else self._providers[index]

    def owner_of(self, model: str) -> Provider | None:
        """Return the provider whose own model a name in small letters is."""
        index = self._by_model.find(model)
        return None if index is None else self._providers[index]

    def readings(self, provider: str | None, model: str) -> Iterator[tuple[Provider | None, str]]:
        """Yield what a call may mean, the likeliest first: a provider (None for any) and a model in small letters."""
        name = model.lower()
        prefix, slash, rest = name.partition("/")
        prefixed = self.named(prefix) if slash and rest else None
        if provider is not None and provider.lower() != ROUTER:
            named = self.named(provider)
            yield named, name
            if prefixed is not None and prefixed is named:
                yield named, rest
            return
        yield None, name
        if prefixed is not None:
            yield prefixed, rest
        owner = self.owner_of(name)
        if owner is not None:
            yield owner, name


def spellings(name: str) -> Iterator[str]:
    """Yield a model's name, with a compact date as providers spell dates, and without its date."""
    yield name
    dashed = _COMPACT_DATE.sub(_dashed, name)
    if dashed != name:
        yield dashed
    undated = _LAST_DATE.sub("", name)
    if undated and undated != name:
        yield undated


def _dashed(found: re.Match[str]) -> str:
    year, month, day = (int(group) for group in found.groups())
    try:
        return f"-{date(year, month, day).isoformat()}"
    except ValueError:
        return found.group(0)


def by_provider(owners: Sequence[str | None]) -> Mapping[str | None, list[int]]:
    """Return the indexes of entries by the provider (in small letters) that each belongs to, in order."""
    indexes: dict[str | None, list[int]] = {}
    for index, owner in enumerate(owners):
        indexes.setdefault(None if owner is None else owner.lower(), []).append(index)
    return indexes
