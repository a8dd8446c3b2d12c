"""What a client is wrapped with: who pays, under which names, and how tokens are estimated."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from spendgate.providers.acting import Payer, payer_of
from spendgate.providers.endpoints import endpoint_of, unbudgeted
from spendgate.providers.outcomes import Outcome, outcome_of_answer
from spendgate.providers.requests import PricingNames, Request, read_request
from spendgate.providers.taps import BodyTap, StreamTap, Tap, outcome_of_body
from spendgate.providers.tokens import CountTokens

log = logging.getLogger("spendgate")

HOSTS: Final[Mapping[str, str]] = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}
CLOUDS: Final[Mapping[str, str]] = {"azure": "azure", "bedrock": "aws", "aws": "aws", "vertex": "google"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of one wrapped client. `warned` holds what was said once."""

    user_id: str | None
    tier: str | None
    group: str | None
    names: PricingNames
    count: CountTokens
    include_usage: bool
    warned: set[str]

    def payer(self) -> Payer:
        """Return who pays for the call that is made now; raises `PayerUnknownError`."""
        return payer_of(self.user_id, self.tier, self.group)

    def read(self, path: str, arguments: Mapping[str, Any]) -> Request | None:
        """Read a request; None for one that is not budgeted, which the log says once if it costs money."""
        endpoint = endpoint_of(path)
        if endpoint is not None:
            return read_request(endpoint, arguments, self.names, self.count, ask_for_usage=self.include_usage)
        name = unbudgeted(path)
        if name is not None and name not in self.warned:
            self.warned.add(name)
            log.warning("requests to %s are not budgeted: they are neither held nor charged", name)
        return None

    def finished(self, request: Request, answer: Any) -> Outcome | Tap:
        """Return the outcome of an answer, or how to find it out while the answer is being read."""
        response = response_behind(answer)
        if response is None:
            return outcome_of_answer(request, answer)
        if response.is_closed:
            return outcome_of_body(request, response.content)
        kind = response.headers.get("content-type", "")
        is_stream = "text/event-stream" in kind or (request.is_stream and "json" not in kind)
        return StreamTap(request, self.count) if is_stream else BodyTap(request)


def response_behind(answer: Any) -> Any:
    """Return the HTTP response of a provider's stream or raw response; None for an answer that was read and parsed."""
    for response in (answer, getattr(answer, "http_response", None), getattr(answer, "response", None)):
        if callable(getattr(response, "iter_raw", None)):
            return response
    return None


def provider_of(client: Any) -> str | None:
    """Return under which provider's prices a client's calls fall; None where only the model's name can tell."""
    for kind in type(client).__mro__:
        for part in kind.__module__.split("."):
            if part in CLOUDS:
                return CLOUDS[part]
    return HOSTS.get(urlsplit(str(client.base_url)).hostname or "")
