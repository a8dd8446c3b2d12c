"""`wrap`: a provider's client whose calls are held, settled and blocked."""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypedDict, TypeVar

from spendgate.async_client import AsyncSpendgate
from spendgate.client import Spendgate
from spendgate.providers.instances import fresh, is_async
from spendgate.providers.meters import AsyncMeter, Meter
from spendgate.providers.requests import PricingNames
from spendgate.providers.terms import Terms, provider_of
from spendgate.providers.tokens import CountTokens, typical_tokens

ClientT = TypeVar("ClientT")
Gate = Spendgate | AsyncSpendgate


class WrapOptions(TypedDict, total=False):
    """The terms that `wrap` takes; it documents them."""

    user_id: str | None
    tier: str | None
    group: str | None
    provider: str | None
    models: Mapping[str, str] | None
    count_tokens: CountTokens
    include_usage: bool


def wrap(
    client: ClientT,
    gate: Gate | None = None,
    *,
    user_id: str | None = None,
    tier: str | None = None,
    group: str | None = None,
    provider: str | None = None,
    models: Mapping[str, str] | None = None,
    count_tokens: CountTokens = typical_tokens,
    include_usage: bool = True,
) -> ClientT:
    """Return a client like `client`, of the same class and on the same connections, whose calls are budgeted.

    It raises `LLMBudgetExceededError` instead of making a call that is refused. The original stays as it is. Wrapping
    is cheap enough to be done for each request; a client that is wrapped already is wrapped anew.

    - `client`: of ``openai`` or ``anthropic``, blocking or awaiting, Azure's and the clouds' included.
    - `gate`: a `Spendgate` for a blocking client, an `AsyncSpendgate` for an awaiting one; by default one that all
      share, made as the environment says.
    - `user_id`, `tier`, `group`: whose budget the calls take; without `user_id` that of `acting_for`.
    - `provider`: under whose prices the calls fall, for a client of another base URL than its provider's own.
    - `models`: names to price by, for models that are called otherwise: ``{"my-azure-deployment": "gpt-4o"}``.
    - `count_tokens`: estimates the tokens of a text before the call: `typical_tokens`, `most_tokens`, or a tokenizer.
    - `include_usage`: streams of OpenAI's are asked for their usage, which is hidden from whoever did not ask. Without
      it they are charged by what was streamed.

    Raises `TypeError` for a client of another kind, or a gate that does not fit it.
    """
    awaits = is_async(client)
    chosen = gate if gate is not None else gate_for(client)
    terms = Terms(
        user_id=user_id,
        tier=tier,
        group=group,
        names=PricingNames(provider=provider or provider_of(client), models=dict(models or {})),
        count=count_tokens,
        include_usage=include_usage,
        warned=set(),
    )
    wrapped = fresh(client)
    if awaits:
        AsyncMeter(wrapped, _of_kind(AsyncSpendgate, chosen), terms)
    else:
        Meter(wrapped, _of_kind(Spendgate, chosen), terms)
    return wrapped


def gate_for(client: Any) -> Gate:
    """Return the gate that all clients of this kind share; raises `TypeError` for what is no client."""
    return shared_async_gate() if is_async(client) else shared_gate()


@cache
def shared_gate() -> Spendgate:
    """Return the process's own `Spendgate`, made at first use as the environment says."""
    return Spendgate()


@cache
def shared_async_gate() -> AsyncSpendgate:
    """Return the process's own `AsyncSpendgate`, made at first use as the environment says."""
    return AsyncSpendgate()


GateT = TypeVar("GateT", Spendgate, AsyncSpendgate)


def _of_kind(kind: type[GateT], gate: Any) -> GateT:
    if not isinstance(gate, kind):
        raise TypeError(f"this client needs a gate that is a {kind.__name__}, not a {type(gate).__name__}")
    return gate
