"""The terms of `spendgate.providers.wrap`, for what wraps no client."""

from spendgate.providers.requests import PricingNames
from spendgate.providers.terms import Terms
from spendgate.providers.tokens import typical_tokens
from spendgate.providers.wrapping import WrapOptions


def terms_of(options: WrapOptions) -> Terms:
    """Return the terms that the options say, with the defaults of `wrap`."""
    return Terms(
        user_id=options.get("user_id"),
        tier=options.get("tier"),
        group=options.get("group"),
        names=PricingNames(provider=options.get("provider"), models=dict(options.get("models") or {})),
        count=options.get("count_tokens", typical_tokens),
        include_usage=options.get("include_usage", True),
        warned=set(),
    )
