"""What `budgeted` needs to know of a function: whose call it is, what it may cost, and what it did cost."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spendgate._options import ReserveOptions
from spendgate.amounts import Amount
from spendgate.usage import Usage

FromArguments = Callable[[Mapping[str, Any]], Any]
"""A function of the call's arguments, by name, with the defaults of those that were left out."""

FromResult = Callable[[Any], Amount | Usage | None]
"""A function of the call's result: its cost in USD or its usage, or None where it does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How the calls of a decorated function are held and settled."""

    user_id: str | FromArguments
    estimate_usd: Amount | FromArguments | None
    usage: Usage | FromArguments | None
    cost: FromResult | None
    tier: str | FromArguments | None
    group: str | None

    def bind(self, function: Callable[..., Any]) -> "BoundTerms":
        """Return the terms for one function; raises `TypeError` if it has no parameter of the user's name."""
        signature = inspect.signature(function)
        if isinstance(self.user_id, str) and self.user_id not in signature.parameters:
            raise TypeError(
                f"{function.__qualname__} has no parameter {self.user_id!r}: say whose call it is by user_id="
            )
        return BoundTerms(terms=self, signature=signature)


def refuse_generators(function: Callable[..., Any]) -> None:
    """Raise `TypeError` for what returns before it has done anything, so that no return says what a call did cost."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"budgeted cannot tell when the generator {name} ends: open a hold inside of it")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundTerms:
    """The terms for one function."""

    terms: Terms
    signature: inspect.Signature

    def of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ReserveOptions]:
        """Return the user and what to reserve for a call."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments, terms = bound.arguments, self.terms
        user_id = arguments[terms.user_id] if isinstance(terms.user_id, str) else terms.user_id(arguments)
        options: ReserveOptions = {
            "estimate_usd": _value(terms.estimate_usd, arguments),
            "usage": _value(terms.usage, arguments),
            "tier": _value(terms.tier, arguments),
            "group": terms.group,
        }
        return user_id, options

    def of_result(self, result: Any) -> Mapping[str, Any] | None:
        """Return what to settle after a call: the fields of `Hold.settle`, or None where the result does not tell."""
        cost = None if self.terms.cost is None else self.terms.cost(result)
        if cost is None:
            return None
        return {"usage": cost} if isinstance(cost, Usage) else {"cost_usd": cost}


def _value(term: Any, arguments: Mapping[str, Any]) -> Any:
    return term(arguments) if callable(term) else term
