"""Sections of a decoded YAML or JSON document, read field by field, with every fault kept under its path."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Final, TypeVar

from ledger.errors import InvalidInput, RuleSetInvalid

MAX_FAULTS: Final = 1000
MAX_SHOWN_LENGTH: Final = 40
MAX_SHOWN_BITS: Final = 128

T = TypeVar("T")


class Faults:
    """Every fault found so far as (path, message); gives up after 1,000, so that nonsense costs little to refuse."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    @property
    def count(self) -> int:
        """How many were found."""
        return len(self._found)

    def add(self, path: str, message: str) -> None:
        """Keep a fault. Raises `RuleSetInvalid` when there are too many to go on."""
        self._found.append((path, message))
        if len(self._found) == MAX_FAULTS:
            self._found.append(("document", f"more than {MAX_FAULTS} faults, the rest is not listed"))
            raise RuleSetInvalid(self._found)

    def raise_if_any(self) -> None:
        """Raise `RuleSetInvalid` with all faults, if there are any."""
        if self._found:
            raise RuleSetInvalid(self._found)


class Section:
    """One mapping of the document. A field that is missing or null has its default; a faulty one is kept as fault.

    After a fault the readers return the default, so that reading goes on to the next fault.
    """

    __slots__ = ("_faults", "_fields", "_path")

    def __init__(self, fields: Mapping[object, object], *, path: str, faults: Faults, known: frozenset[str]) -> None:
        self._fields = fields
        self._path = path
        self._faults = faults
        if not fields.keys() <= known:
            self._refuse_unknown(known)

    def has(self, name: str) -> bool:
        """Say whether the field is there, null or not."""
        return name in self._fields

    def get(self, name: str) -> object:
        """Return the field as it is, None if it is missing."""
        return self._fields.get(name)

    def fault(self, name: str, message: str) -> None:
        """Keep a fault of the field `name`; an empty name means the section itself."""
        self._faults.add(joined(self._path, name), message)

    def parse(self, name: str, parse: Callable[..., T], default: T) -> T:
        """Return what `parse` makes of the field; its `InvalidInput` becomes a fault."""
        value = self._fields.get(name)
        if value is None:
            return default
        try:
            return parse(value, field=name)
        except InvalidInput as error:
            self.fault(error.field or name, error.message.removeprefix(f"{error.field} "))
            return default

    def require(self, name: str, parse: Callable[..., T], default: T) -> T:
        """Return what `parse` makes of a field that must be there."""
        if self._fields.get(name) is None:
            self.fault(name, "is required")
        return self.parse(name, parse, default)

    def choose(self, name: str, choices: Mapping[str, T], default: T) -> T:
        """Return the value that `choices` gives for the field's text."""
        value = self._fields.get(name)
        if value is None:
            return default
        if isinstance(value, str) and value in choices:
            return choices[value]
        self.fault(name, f"must be one of {', '.join(choices)}, not {shown(value)}")
        return default

    def _refuse_unknown(self, known: frozenset[str]) -> None:
        for name in self._fields:
            if name not in known:
                self.fault(str(name)[:MAX_SHOWN_LENGTH], f"unknown field{hint(str(name), known)}")


def section_at(value: object, *, path: str, faults: Faults, known: frozenset[str]) -> Section:
    """Return the section of a value that must be a mapping; anything else is a fault and reads as an empty one."""
    if isinstance(value, dict):
        return Section(value, path=path, faults=faults, known=known)
    faults.add(path or "document", f"must be a mapping, not {shown(value)}")
    return Section({}, path=path, faults=faults, known=known)


def hint(name: str, known: frozenset[str]) -> str:
    """Return ``; did you mean 'limit_usd'?`` for a name that is nearly known, else nothing."""
    if len(name) > MAX_SHOWN_LENGTH:
        return ""
    near = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def shown(value: object) -> str:
    """Return a value as a message may show it: scalars in short, other types by their name."""
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN_BITS:
        return "a huge number"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}..."
    return f"a {type(value).__name__}"


def joined(path: str, name: str) -> str:
    """Return the path of a field of the section at `path`; an empty name means the section itself."""
    if not name:
        return path or "document"
    return f"{path}.{name}" if path else name
