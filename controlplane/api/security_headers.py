"""Headers that keep a browser from doing what no page of ours asks for: on every answer, errors and streams too."""

from typing import Final

from aiohttp import web

CONTENT_SECURITY_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Server": "spendgate",
}
STRICT_TRANSPORT: Final = "max-age=31536000"


def add_security_headers(app: web.Application, *, is_secure: bool) -> None:
    """Set the headers on every answer of an application; what no handler says about caching is not kept."""

    async def on_prepare(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        if is_secure:
            response.headers["Strict-Transport-Security"] = STRICT_TRANSPORT

    app.on_response_prepare.append(on_prepare)
