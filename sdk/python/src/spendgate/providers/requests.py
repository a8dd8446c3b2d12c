"""A request to a provider, read before it is sent: what it may use, and whether its stream must be asked for usage."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from spendgate.providers.endpoints import Endpoint
from spendgate.providers.tokens import CountTokens, request_tokens
from spendgate.usage import Usage

UNKNOWN_MODEL: Final = "unknown"
"""Stands for the model of a request that names none, such as one by a stored prompt."""

REASONING_MODELS: Final = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9])")
"""OpenAI's models that think without showing it, so that a broken stream tells nothing of the tokens they used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PricingNames:
    """Under which names a call is priced: `models` maps the caller's names (such as an Azure deployment's)."""

    provider: str | None
    models: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is known of a call before it is made. `hides_output`: more may be billed than a stream shows."""

    endpoint: Endpoint
    estimate: Usage
    is_stream: bool
    hides_output: bool
    body: Any
    hides_usage: bool

    @property
    def names_model(self) -> bool:
        """The model is known."""
        return self.estimate.model != UNKNOWN_MODEL


def read_request(
    endpoint: Endpoint, arguments: Mapping[str, Any], names: PricingNames, count: CountTokens, *, ask_for_usage: bool
) -> Request:
    """Read the arguments of a client's ``post``.

    The body that comes back is the one to send: what could be read only once is read into lists, and a stream of
    OpenAI's is asked for its usage.
    """
    body = _reread(arguments.get("body"))
    fields = _with_extra(body, arguments.get("options"))
    is_stream = bool(arguments.get("stream"))
    hides_usage = is_stream and ask_for_usage and endpoint.asks_for_usage and not _asked_for_usage(fields)
    model = fields.get("model")
    named = model if isinstance(model, str) and model else UNKNOWN_MODEL
    return Request(
        endpoint=endpoint,
        estimate=_estimate(endpoint, fields, names.models.get(named, named), names.provider, count),
        is_stream=is_stream,
        hides_output=_hides_output(named, fields),
        body=_asking(body, fields) if hides_usage else body,
        hides_usage=hides_usage,
    )


def _estimate(
    endpoint: Endpoint, fields: Mapping[str, Any], model: str, provider: str | None, count: CountTokens
) -> Usage:
    parts = {name: fields[name] for name in endpoint.parts if _is_given(fields.get(name))}
    return Usage(
        model=model,
        provider=provider,
        input_tokens=request_tokens(parts, count),
        output_tokens=None if endpoint.has_output else 0,
        max_output_tokens=_max_output(endpoint, fields),
    )


def _max_output(endpoint: Endpoint, fields: Mapping[str, Any]) -> int | None:
    """Return the bound of all choices together."""
    limits = [value for name in endpoint.limits if (value := _number(fields.get(name))) is not None]
    if not limits:
        return None
    choices = max(_number(fields.get("n")) or 1, _number(fields.get("best_of")) or 1)
    return max(limits) * choices


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _hides_output(model: str, fields: Mapping[str, Any]) -> bool:
    if _is_given(fields.get("thinking")):
        return not (isinstance(fields["thinking"], Mapping) and fields["thinking"].get("type") == "disabled")
    effort = _effort(fields)
    return effort != "none" if effort is not None else bool(REASONING_MODELS.match(model))


def _effort(fields: Mapping[str, Any]) -> Any:
    if _is_given(fields.get("reasoning_effort")):
        return fields["reasoning_effort"]
    reasoning = fields.get("reasoning")
    return reasoning.get("effort") if isinstance(reasoning, Mapping) else None


def _with_extra(body: Any, options: Any) -> Mapping[str, Any]:
    """Return the fields that are sent; what is in ``extra_body`` stands above the rest."""
    extra = options.get("extra_json") if isinstance(options, Mapping) else None
    fields = body if isinstance(body, Mapping) else {}
    return {**fields, **extra} if isinstance(extra, Mapping) else fields


def _reread(body: Any) -> Any:
    """Return the body with what can be read only once in lists."""
    if not isinstance(body, Mapping) or not any(isinstance(value, Iterator) for value in body.values()):
        return body
    return {name: list(value) if isinstance(value, Iterator) else value for name, value in body.items()}


def _asked_for_usage(fields: Mapping[str, Any]) -> bool:
    options = fields.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _asking(body: Any, fields: Mapping[str, Any]) -> Any:
    options = fields.get("stream_options")
    given = options if isinstance(options, Mapping) else {}
    return {**body, "stream_options": {**given, "include_usage": True}} if isinstance(body, Mapping) else body


def _is_given(value: Any) -> bool:
    """Tell what the caller set from None and from the providers' markers for what was left out."""
    return value is not None and type(value).__name__ not in ("NotGiven", "Omit")
