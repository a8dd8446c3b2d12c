"""The HTML pages: nothing inline that the policy would refuse, names escaped, assets that browsers may keep."""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio

from controlplane.web.pages import PAGES
from tests.support.control_plane import READ_TOKEN, TOKENS, ControlPlane, control_plane
from tests.support.hostile_names import HOSTILE_NAMES

INLINE = re.compile(rb'<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|="javascript:', re.IGNORECASE)
OWN_PAGES = [path for path in PAGES if path != "/login"]


@pytest_asyncio.fixture(loop_scope="function")
async def control(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane for this machine, without tokens."""
    async with control_plane(valkey_url) as running:
        yield running


@pytest.mark.parametrize("path", [*OWN_PAGES, "/users/user-1"])
async def test_a_page_has_nothing_inline(control: ControlPlane, path: str) -> None:
    """Scripts and styles come from files, as the policy of every answer demands."""
    answer = await control.call("GET", path)

    assert (200, "text/html; charset=utf-8") == (answer.status, answer.headers["Content-Type"])
    assert [] == INLINE.findall(answer.body)
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


async def test_whatever_a_page_loads_is_there_and_kept(control: ControlPlane) -> None:
    """Each file that a page names, and each module that a module imports, is served as what it is, for a year."""
    text = (await control.call("GET", "/")).body.decode()
    waiting = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', text))
    seen: set[str] = set()
    while waiting:
        address = waiting.pop()
        seen.add(address)
        answer = await control.call("GET", address)
        assert (200, "public, max-age=31536000, immutable") == (answer.status, answer.headers["Cache-Control"])
        folder = address.rpartition("/")[0]
        waiting |= {f"{folder}/{name}" for name in re.findall(r'from "\./([^"]+)"', answer.body.decode())} - seen

    assert {".css", ".js", ".svg"} == {address[address.rindex(".") :] for address in seen}


@pytest.mark.parametrize("name", ["../pages.py", "..%2fpages.py", "missing.js", "%00"])
async def test_nothing_but_assets_is_served(control: ControlPlane, name: str) -> None:
    """No name leads out of the folder."""
    assert 404 == (await control.call("GET", f"/static/any/{name}")).status


@pytest.mark.parametrize("user_id", HOSTILE_NAMES)
async def test_a_hostile_user_id_is_escaped_in_the_page(control: ControlPlane, user_id: str) -> None:
    """No id brings an element or attribute of its own."""
    usual = (await control.call("GET", "/users/user-1")).body
    text = (await control.call("GET", f"/users/{quote(user_id, safe='')}")).body

    assert [] == INLINE.findall(re.sub(rb"data-user=\"[^\"]*\"|<bdi>[^<]*</bdi>|<title>[^<]*</title>", b"", text))
    assert usual.count(b"<") == text.count(b"<")


async def test_an_old_address_of_an_asset_is_answered_but_not_kept(control: ControlPlane) -> None:
    """A page from before an upgrade still finds its files; the next visit asks anew."""
    answer = await control.call("GET", "/static/other/dom.js")

    assert (200, "no-store") == (answer.status, answer.headers["Cache-Control"])


async def test_the_theme_of_a_cookie_is_in_the_page_unless_it_is_none(control: ControlPlane) -> None:
    """What is no theme is left out."""
    dark = await control.call("GET", "/", headers={"Cookie": "sg_theme=dark"})
    odd = await control.call("GET", "/", headers={"Cookie": 'sg_theme="><script>'})

    assert (True, False) == (b'data-theme="dark"' in dark.body, b"data-theme" in odd.body)


async def test_pages_lead_to_the_sign_in_and_a_reader_gets_no_buttons(valkey_url: str) -> None:
    """Without a session a page redirects; the sign-in itself is open; a reader's page has no way to change a rule."""
    async with control_plane(valkey_url, **TOKENS) as control:
        page = await control.call("GET", "/audit?x=1")
        login = await control.call("GET", "/login")
        reader = await control.call("GET", "/", token=READ_TOKEN)

    assert (303, "/login?next=/audit?x%3D1") == (page.status, page.headers["Location"])
    assert (200, True) == (login.status, b"login-form" in login.body)
    assert (200, False) == (reader.status, b'data-role="new"' in reader.body)


async def test_there_is_no_sign_in_where_nothing_is_closed(control: ControlPlane) -> None:
    """Without tokens the sign-in leads to the page."""
    answer = await control.call("GET", "/login")

    assert (303, "/") == (answer.status, answer.headers["Location"])
