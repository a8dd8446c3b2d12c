"""Handlers of the HTML pages: frames with what is known at once; the rest comes from the API, and stays live."""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from controlplane.api.access import CALLER
from controlplane.auth import Scope
from controlplane.web.assets import Assets
from ledger.names import parse_name
from ledger.rule_book import RuleBook

THEMES: Final = frozenset({"light", "dark"})
ZONES: Final = frozenset({"utc", "local"})
PAGES: Final = {
    "/": ("enforcement.html", "Enforcement"),
    "/spend": ("spend.html", "Spend"),
    "/dry-run": ("dry_run.html", "Dry run"),
    "/audit": ("audit.html", "Audit trail"),
    "/sidecars": ("sidecars.html", "Sidecars"),
    "/settings": ("settings.html", "Settings"),
    "/login": ("login.html", "Sign in"),
}


class PageHandlers:
    """The pages. `book` is what the registry holds now; `has_login` says whether tokens are in use at all."""

    def __init__(self, *, book: Callable[[], RuleBook], has_login: bool) -> None:
        self._book = book
        self._has_login = has_login
        self._assets = Assets.read()
        self._templates = Environment(
            loader=PackageLoader("controlplane.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of pages and assets. A slash in a user id is sent as ``%2F``."""
        pages = [web.get(path, self.page) for path in PAGES]
        return [*pages, web.get(r"/users/{user_id:[^/]+}", self.user), *self._assets.routes()]

    async def page(self, request: web.Request) -> web.Response:
        """Answer a page; who has nothing to sign in to is sent where the limits are."""
        if request.path == "/login" and not self._has_login:
            raise web.HTTPSeeOther("/")
        template, name = PAGES[request.path]
        return self._render(request, template, page=name)

    async def user(self, request: web.Request) -> web.Response:
        """Answer the page of a user, whether or not they have been seen."""
        user_id = parse_name(request.match_info["user_id"], field="user_id")
        return self._render(request, "user.html", page="User", user_id=user_id)

    def _render(self, request: web.Request, template: str, **values: str) -> web.Response:
        caller, book = request.get(CALLER), self._book()
        workspace = book.workspace
        theme, times = request.cookies.get("sg_theme", ""), request.cookies.get("sg_times", "")
        text = self._templates.get_template(template).render(
            assets=self._assets.address,
            scope="" if caller is None else Scope(caller.scope).value,
            has_login=self._has_login,
            plan=workspace.plan.value,
            mode=workspace.mode.value,
            timezone=workspace.calendar.timezone,
            week_start=str(workspace.calendar.week_start),
            revision=book.revision,
            theme=theme if theme in THEMES else "",
            times=times if times in ZONES else "utc",
            **values,
        )
        return web.Response(text=text, content_type="text/html", charset="utf-8")
