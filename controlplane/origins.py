"""Where a request may come from: the Host header against DNS rebinding, Sec-Fetch-Site and Origin against forgery.

A page of another site that a browser shows can send requests here, with the browser's cookies and from inside the
machine, but it cannot choose these three headers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from ledger.errors import LedgerError
from ledger.setting_parsing import is_loopback

LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES: Final = frozenset({"same-origin", "none"})
DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class BadHost(LedgerError):
    """The Host header names another machine: a page in a browser may have been lured here."""

    code = "bad_host"
    status = 421


class CrossOrigin(LedgerError):
    """A page of another site sent the request."""

    code = "cross_origin"
    status = 403


@dataclass(frozen=True, slots=True)
class Origins:
    """The Host names that are this control plane's, None for any, and its own origin behind a proxy, if it has one."""

    hosts: frozenset[str] | None
    public_origin: str | None

    @classmethod
    def of(cls, *, host: str, public_url: str | None) -> Self:
        """Return the origins of a listener on `host` that browsers find under `public_url`, if that is another one."""
        public = None if public_url is None else urlsplit(public_url)
        origin = None if public is None else _origin(public.scheme, public.netloc)
        named = set() if public is None else {_name(public.netloc)}
        if is_loopback(host):
            return cls(frozenset(LOCAL_NAMES | named | {_name(host)}), origin)
        return cls(None if public is None else frozenset(LOCAL_NAMES | named | {_name(host)}), origin)

    @property
    def is_secure(self) -> bool:
        """Say whether browsers come over TLS, so that cookies may demand it."""
        return self.public_origin is not None and self.public_origin.startswith("https:")

    def check_host(self, host: str) -> None:
        """Raise `BadHost` for a name that is not ours."""
        if self.hosts is not None and _name(host) not in self.hosts:
            raise BadHost("this control plane does not go by that name; set SPENDGATE_PUBLIC_URL if it should")

    def check_browser(self, method: str, headers: Mapping[str, str], *, is_page: bool) -> None:
        """Raise `CrossOrigin` for what a page of another site sends.

        Following a link to a page of ours is all that another site's page may do. Programs send neither header.
        """
        site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
        is_link = is_page and method in SAFE_METHODS and headers.get("Sec-Fetch-Mode") in {None, "navigate"}
        if site is not None and site not in OWN_SITES and not is_link:
            raise CrossOrigin("pages of other sites may not call the control plane")
        if origin is not None and not self._is_own(origin, headers.get("Host", "")):
            raise CrossOrigin("the Origin header names another site")

    def sent_by_browser_page(self, headers: Mapping[str, str]) -> bool:
        """Say whether a browser vouches that a page of ours sent the request; what rests on a cookie needs that."""
        return "Origin" in headers or headers.get("Sec-Fetch-Site") == "same-origin"

    def _is_own(self, origin: str, host: str) -> bool:
        parts = urlsplit(origin)
        if parts.scheme not in DEFAULT_PORTS:
            return False
        own = _origin(parts.scheme, host)
        if self.public_origin is not None and _name(host) not in LOCAL_NAMES:
            own = self.public_origin
        return _origin(parts.scheme, parts.netloc) in {own, self.public_origin}


def _origin(scheme: str, netloc: str) -> str:
    return f"{scheme}://{netloc.removesuffix(DEFAULT_PORTS.get(scheme, '')).lower()}"


def _name(host: str) -> str:
    """Return a Host header without its port."""
    name, separator, port = host.rpartition(":")
    return (name if separator and port.isdigit() else host).lower()
