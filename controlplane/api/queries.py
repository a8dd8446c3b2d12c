"""Reads the query of a request: every parameter known, each with its own error."""

from collections.abc import Collection
from typing import Final

from aiohttp import web

from ledger.errors import InvalidInput
from ledger.moments import parse_moment
from ledger.names import parse_name
from ledger.sections import hint

MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50
MAX_TEXT_LENGTH: Final = 256
MAX_DIGITS: Final = 10

FLAGS: Final = {"true": True, "false": False}


class Query:
    """The parameters of one request. Raises `InvalidInput` naming the parameter, for unknown and repeated ones too."""

    def __init__(self, request: web.Request, known: Collection[str]) -> None:
        self._values = request.query
        for name in self._values:
            if name not in known:
                near = hint(name, frozenset(known))
                raise InvalidInput(f"{name[:MAX_TEXT_LENGTH]} is no parameter of this call{near}", field=name)
            if len(self._values.getall(name)) > 1:
                raise InvalidInput(f"{name} is given more than once", field=name)

    def text(self, name: str) -> str | None:
        """Return a parameter as it is; an empty one is as good as none."""
        value = self._values.get(name) or None
        if value is not None and len(value) > MAX_TEXT_LENGTH:
            raise InvalidInput(f"{name} has more than {MAX_TEXT_LENGTH} characters", field=name)
        return value

    def long_text(self, name: str) -> str | None:
        """Return a parameter whose length its own parser bounds."""
        return self._values.get(name) or None

    def name(self, name: str, *, refuse_any_tier: bool = False) -> str | None:
        """Return a user id, tier or key."""
        value = self._values.get(name) or None
        return None if value is None else parse_name(value, field=name, refuse_any_tier=refuse_any_tier)

    def moment_ms(self, name: str) -> int | None:
        """Return a moment in RFC 3339 as Unix milliseconds."""
        value = self._values.get(name) or None
        return None if value is None else parse_moment(value, field=name)

    def number(self, name: str, *, default: int, largest: int, smallest: int = 1) -> int:
        """Return a whole number."""
        value = self._values.get(name) or None
        if value is None:
            return default
        is_number = value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS
        if not is_number or not smallest <= int(value) <= largest:
            raise InvalidInput(f"{name} must be a whole number from {smallest} to {largest}", field=name)
        return int(value)

    def limit(self) -> int:
        """Return how many items a page has."""
        return self.number("limit", default=DEFAULT_LIMIT, largest=MAX_LIMIT)

    def flag(self, name: str) -> bool | None:
        """Return true, false, or None if it is not given."""
        value = self._values.get(name) or None
        if value is not None and value not in FLAGS:
            raise InvalidInput(f"{name} must be true or false", field=name)
        return None if value is None else FLAGS[value]

    def words(self, name: str, choices: Collection[str]) -> frozenset[str]:
        """Return the comma-separated words of a parameter, each one of `choices`."""
        words = frozenset(word for word in (self._values.get(name) or "").split(",") if word)
        for word in words:
            if word not in choices:
                raise InvalidInput(f"{name} must be of {', '.join(choices)}", field=name)
        return words
