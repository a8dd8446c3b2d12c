"""Who may call: names of this machine, requests of apps and not of pages, tokens."""

from collections.abc import Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from sidecar.api.access import (
    BadHost,
    CrossOrigin,
    Unauthorized,
    access_check,
    access_middleware,
    check_token,
    host_name,
)

TOKEN = "decision-token-of-a-test"


async def _handler(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="served")


async def _call(
    headers: Mapping[str, str], *, method: str = "POST", is_local: bool = True, token: str | None = None
) -> web.StreamResponse:
    middleware = access_middleware(access_check(is_local=is_local, token=token))
    response: web.StreamResponse = await middleware(make_mocked_request(method, "/v1/check", headers), _handler)
    return response


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("localhost:8787", "localhost"),
        ("LocalHost:8787", "localhost"),
        ("127.0.0.1:8787", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:8787", "[::1]"),
        ("localhost:", "localhost:"),
        ("localhost:http", "localhost:http"),
        ("", ""),
    ],
)
def test_the_port_is_no_part_of_a_name(header: str, name: str) -> None:
    """Digits behind the last colon are a port; case does not matter."""
    assert name == host_name(header)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]:8787"])
async def test_a_local_listener_serves_local_names(host: str) -> None:
    """Whatever way this machine calls itself."""
    assert 200 == (await _call({"Host": host})).status


@pytest.mark.parametrize(
    "host",
    ["page.example", "localhost.page.example", "127.0.0.1.page.example", "127.0.0.2", "::1", "[::1", "localhost."],
)
async def test_a_local_listener_serves_no_other_name(host: str) -> None:
    """A name that a page made point here is not ours."""
    with pytest.raises(BadHost):
        await _call({"Host": host})


async def test_a_listener_beyond_loopback_may_have_any_name() -> None:
    """There the token decides."""
    response = await _call({"Host": "spendgate.example"}, is_local=False)
    assert 200 == response.status


@pytest.mark.parametrize("origin", ["https://page.example", "http://localhost:3000", "null", ""])
async def test_a_local_listener_serves_no_pages(origin: str) -> None:
    """Only browsers send Origin, whatever it says."""
    with pytest.raises(CrossOrigin):
        await _call({"Host": "localhost", "Origin": origin})


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} "])
async def test_the_token_opens(header: str) -> None:
    """The scheme's case and spaces around the token do not matter."""
    assert 200 == (await _call({"Host": "localhost", "Authorization": header}, token=TOKEN)).status


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer täken",
    ],
)
async def test_anything_else_does_not(header: str) -> None:
    """Another token, scheme or case, or bytes that are no text."""
    with pytest.raises(Unauthorized):
        await _call({"Host": "localhost", "Authorization": header}, token=TOKEN)


async def test_the_token_is_needed_for_reads_too() -> None:
    """Usage is somebody's data."""
    with pytest.raises(Unauthorized):
        await _call({"Host": "localhost"}, method="GET", token=TOKEN)


async def test_a_push_is_left_to_its_own_token() -> None:
    """Who may push rules need not know the token of the apps."""
    assert 200 == (await _call({"Host": "localhost"}, method="PUT", token=TOKEN)).status


async def test_a_wrong_host_is_refused_before_the_token_is_looked_at() -> None:
    """A page must not learn whether a token would be right."""
    with pytest.raises(BadHost):
        await _call({"Host": "page.example", "Authorization": "Bearer wrong"}, token=TOKEN)


def test_a_push_needs_the_token_that_was_set() -> None:
    """The function of the pushes is the same as that of the decisions."""
    check_token(make_mocked_request("PUT", "/v1/rules", {"Authorization": f"Bearer {TOKEN}"}), TOKEN)
