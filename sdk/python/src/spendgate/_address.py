"""Where the sidecar is: ``http://host:port``, ``https://host:port`` or ``unix:///path/of/the.sock``."""

import os
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

DEFAULT_URL: Final = "http://127.0.0.1:8787"
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
FORMS: Final = "write http://host:port, https://host:port or unix:///path/of/the.sock"


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address. With `socket_path`, host and port only fill the Host header."""

    url: str
    scheme: str
    host: str
    port: int
    socket_path: str | None = None

    @property
    def host_header(self) -> str:
        """What stands in ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def read_address(url: str | None) -> Address:
    """Return the address of `url`, else of ``SPENDGATE_URL``, else port 8787 of this machine.

    Raises `ValueError` for what is no address of a sidecar.
    """
    text = url or os.environ.get("SPENDGATE_URL") or DEFAULT_URL
    if not isinstance(text, str):
        raise TypeError(f"url must be a str, not {text!r}: {FORMS}")
    parts = urlsplit(text)
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{text!r} has a part that no sidecar's address has: {FORMS}")
    if parts.scheme == "unix":
        return _of_socket(text, parts.netloc + parts.path)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{text!r} is no address of a sidecar: {FORMS}")
    port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    return Address(text.rstrip("/"), parts.scheme, parts.hostname, port)


def _of_socket(text: str, path: str) -> Address:
    if not path.startswith("/"):
        raise ValueError(f"{text!r} needs an absolute path: {FORMS}")
    return Address(text, "http", "localhost", DEFAULT_PORTS["http"], path)
