"""Style sheets, scripts and the icon, read once: their address has a digest of them all, so browsers keep them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from aiohttp import web

FOLDER: Final = Path(__file__).parent / "static"
CONTENT_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
KEPT: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
DIGEST_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class Assets:
    """Files by name, and the digest that stands in their address; another version has another address."""

    files: dict[str, bytes]
    digest: str

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Self:
        """Read the files of a folder."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in CONTENT_TYPES}
        digest = hashlib.sha256()
        for name, body in files.items():
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
        return cls(files, digest.hexdigest()[:DIGEST_LENGTH])

    @property
    def address(self) -> str:
        """Where the files are; modules find each other beside themselves."""
        return f"/static/{self.digest}"

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/static/{digest}/{name}", self.serve), web.get("/favicon.ico", self.icon)]

    async def serve(self, request: web.Request) -> web.Response:
        """Answer a file; after an upgrade an old page gets the new file, but does not keep it."""
        name = request.match_info["name"]
        body = self.files.get(name)
        if body is None:
            raise web.HTTPNotFound
        headers = KEPT if request.match_info["digest"] == self.digest else {}
        return web.Response(body=body, content_type=CONTENT_TYPES[Path(name).suffix], charset="utf-8", headers=headers)

    async def icon(self, _request: web.Request) -> web.Response:
        """Answer what browsers ask for by themselves."""
        return web.Response(body=self.files["icon.svg"], content_type=CONTENT_TYPES[".svg"], charset="utf-8")
