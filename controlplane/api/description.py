"""Handler of the API's description."""

from aiohttp import web

from controlplane.api.answers import answer
from controlplane.api.openapi import openapi_document
from controlplane.api.queries import Query


class DescriptionHandlers:
    """The OpenAPI document."""

    def __init__(self) -> None:
        self._document = openapi_document()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/api/v1/openapi.json", self.openapi)]

    async def openapi(self, request: web.Request) -> web.Response:
        """Answer the document."""
        Query(request, [])
        return answer(self._document)
