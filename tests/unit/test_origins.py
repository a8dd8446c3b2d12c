"""Which Host names are ours, and which requests of browsers come from a page of ours."""

import pytest

from controlplane.origins import BadHost, CrossOrigin, Origins

LOCAL = Origins.of(host="127.0.0.1", public_url=None)
PROXIED = Origins.of(host="127.0.0.1", public_url="https://budgets.example.com")
EVERYWHERE = Origins.of(host="0.0.0.0", public_url=None)
NAMED = Origins.of(host="0.0.0.0", public_url="https://budgets.example.com:8443/")
HOST = {"Host": "127.0.0.1:8788"}


@pytest.mark.parametrize(
    ("origins", "host"),
    [
        (LOCAL, "localhost:8788"),
        (LOCAL, "127.0.0.1"),
        (LOCAL, "[::1]:8788"),
        (LOCAL, "LOCALHOST:1"),
        (Origins.of(host="127.0.0.2", public_url=None), "127.0.0.2:8788"),
        (PROXIED, "budgets.example.com"),
        (PROXIED, "127.0.0.1:8788"),
        (EVERYWHERE, "anything.example"),
        (NAMED, "budgets.example.com:8443"),
    ],
)
def test_a_name_of_ours_is_served(origins: Origins, host: str) -> None:
    """Loopback by its names, others by the public one; beyond loopback without a public name tokens protect."""
    origins.check_host(host)


@pytest.mark.parametrize(
    ("origins", "host"),
    [
        (LOCAL, ""),
        (LOCAL, "evil.example"),
        (LOCAL, "localhost.evil.example"),
        (LOCAL, "127.0.0.1.evil.example:8788"),
        (LOCAL, "127.0.0.1:8788@evil.example"),
        (PROXIED, "evil.example"),
        (NAMED, "evil.example"),
    ],
)
def test_a_foreign_name_is_refused(origins: Origins, host: str) -> None:
    """A name that an attacker points at this machine opens nothing."""
    with pytest.raises(BadHost):
        origins.check_host(host)


@pytest.mark.parametrize(
    ("origins", "method", "headers", "is_page"),
    [
        (LOCAL, "POST", HOST, False),
        (LOCAL, "POST", {**HOST, "Sec-Fetch-Site": "same-origin"}, False),
        (LOCAL, "POST", {**HOST, "Origin": "http://127.0.0.1:8788"}, False),
        (LOCAL, "POST", {"Host": "localhost:80", "Origin": "http://localhost"}, False),
        (LOCAL, "GET", {**HOST, "Sec-Fetch-Site": "none"}, False),
        (LOCAL, "GET", {**HOST, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        (PROXIED, "POST", {"Host": "budgets.example.com", "Origin": "https://budgets.example.com"}, False),
        (PROXIED, "POST", {**HOST, "Origin": "https://budgets.example.com"}, False),
        (NAMED, "POST", {"Host": "x", "Origin": "https://budgets.example.com:8443"}, False),
    ],
)
def test_our_own_pages_and_programs_may_call(
    origins: Origins, method: str, headers: dict[str, str], is_page: bool
) -> None:
    """Programs send neither header; a link on another site may lead to a page."""
    origins.check_browser(method, headers, is_page=is_page)


@pytest.mark.parametrize(
    ("origins", "method", "headers", "is_page"),
    [
        (LOCAL, "POST", {**HOST, "Sec-Fetch-Site": "cross-site"}, False),
        (LOCAL, "POST", {**HOST, "Sec-Fetch-Site": "same-site"}, False),
        (LOCAL, "POST", {**HOST, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        (LOCAL, "GET", {**HOST, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, False),
        (LOCAL, "GET", {**HOST, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, True),
        (LOCAL, "POST", {**HOST, "Origin": "http://evil.example"}, False),
        (LOCAL, "POST", {**HOST, "Origin": "null"}, False),
        (LOCAL, "POST", {**HOST, "Origin": "http://127.0.0.1:9999"}, False),
        (LOCAL, "POST", {**HOST, "Origin": "http://127.0.0.1:8788.evil.example"}, False),
        (LOCAL, "GET", {**HOST, "Origin": "http://evil.example"}, False),
        (PROXIED, "POST", {"Host": "budgets.example.com", "Origin": "http://budgets.example.com"}, False),
        (NAMED, "POST", {"Host": "x", "Origin": "https://x"}, False),
    ],
)
def test_pages_of_other_sites_may_not(origins: Origins, method: str, headers: dict[str, str], is_page: bool) -> None:
    """Nor those of another port of this machine, nor those that a proxy's plain HTTP would let through."""
    with pytest.raises(CrossOrigin):
        origins.check_browser(method, headers, is_page=is_page)


def test_cookies_demand_tls_where_browsers_use_it() -> None:
    """Behind a proxy that speaks it."""
    assert (False, True) == (LOCAL.is_secure, PROXIED.is_secure)
