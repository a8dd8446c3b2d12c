"""One call at a time: `tracked_call` and `tracked_stream`, for code that makes its calls in one place."""

from collections.abc import Mapping
from typing import Any, Literal, Unpack

from spendgate.budget_warning import OnBudgetWarning
from spendgate.providers.instances import package_of
from spendgate.providers.wrapping import Gate, WrapOptions, gate_for, wrap

Api = Literal["chat", "responses", "embeddings", "completions", "messages"]
METHODS: Mapping[str, tuple[str, ...]] = {
    "chat": ("chat", "completions"),
    "responses": ("responses",),
    "embeddings": ("embeddings",),
    "completions": ("completions",),
    "messages": ("messages",),
}


def tracked_call(
    *,
    client: Any,
    params: Mapping[str, Any],
    api: Api | None = None,
    gate: Gate | None = None,
    on_budget_warning: OnBudgetWarning | None = None,
    **terms: Unpack[WrapOptions],
) -> Any:
    """Make one budgeted call, and return the provider's own answer; of an awaiting client, what is to be awaited.

    `params` are those of the client's ``create``; which one follows from them (``messages``, ``prompt``, ``input``) or
    from `api`. `terms` are those of `wrap`: `user_id`, `tier`, `group` and so on. `on_budget_warning` is called for the
    warnings of this call instead of the gate's own. Raises `LLMBudgetExceededError` instead of making a refused call.
    """
    chosen = gate if gate is not None else gate_for(client)
    if on_budget_warning is not None:
        chosen = chosen.telling(on_budget_warning)
    resource: Any = wrap(client, chosen, **terms)
    for name in METHODS[api or _api_of(client, params)]:
        resource = getattr(resource, name)
    return resource.create(**params)


def tracked_stream(
    *,
    client: Any,
    params: Mapping[str, Any],
    api: Api | None = None,
    gate: Gate | None = None,
    on_budget_warning: OnBudgetWarning | None = None,
    **terms: Unpack[WrapOptions],
) -> Any:
    """Make one budgeted call whose answer comes as a stream: the provider's own, settled once it was read or left."""
    streamed = {**params, "stream": True}
    return tracked_call(
        client=client, params=streamed, api=api, gate=gate, on_budget_warning=on_budget_warning, **terms
    )


def _api_of(client: Any, params: Mapping[str, Any]) -> str:
    if package_of(client) == "anthropic":
        return "messages"
    if "messages" in params:
        return "chat"
    if "prompt" in params and isinstance(params["prompt"], str | list):
        return "completions"
    return "embeddings" if "embedding" in str(params.get("model")) else "responses"
