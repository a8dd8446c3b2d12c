"""Where the store is: one server, a primary that Sentinels name, or a Cluster, in one URL.

::

    redis://user:password@host:6379/0                          one server; rediss:// for TLS
    unix:///run/valkey.sock                                    one server on this machine
    redis+sentinel://user:password@s1:26379,s2:26379/name/0    the primary called `name`; rediss+sentinel:// for TLS
    redis+cluster://user:password@n1:6379,n2:6379              a Cluster, found through any of these nodes

Only the options of `OPTIONS` may stand behind ``?``: others of redis-py's would bring back its timeouts and retries.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

Address = tuple[str, int]
"""Host and port."""

SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})
OPTIONS: Final = SENTINEL_OPTIONS | {
    *("db", "username", "password", "client_name"),
    *("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password"),
    *("ssl_check_hostname", "ssl_cert_reqs", "ssl_min_version", "ssl_ciphers"),
}
DEFAULT_PORT: Final = 6379
DEFAULT_SENTINEL_PORT: Final = 26379
MAX_SEEDS: Final = 64
MAX_PORT: Final = 65535


class StoreKind(StrEnum):
    """How many servers there are and who says which of them to ask."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES: Final = {
    "redis": (StoreKind.SINGLE, "redis"),
    "rediss": (StoreKind.SINGLE, "rediss"),
    "unix": (StoreKind.SINGLE, "unix"),
    "redis+sentinel": (StoreKind.SENTINEL, "redis"),
    "rediss+sentinel": (StoreKind.SENTINEL, "rediss"),
    "redis+cluster": (StoreKind.CLUSTER, "redis"),
    "rediss+cluster": (StoreKind.CLUSTER, "rediss"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUrl:
    """A parsed URL. `seeds` are the Sentinels, or the Cluster's first nodes; empty for one server.

    `scheme` is how a server itself is reached; `login` stands before its host, as it was written.
    """

    kind: StoreKind
    text: str
    scheme: str
    login: str
    seeds: tuple[Address, ...]
    service: str
    database: int
    options: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> "StoreUrl":
        """Return what a URL says; raises `ValueError` that says what is wrong with it."""
        parts = urlsplit(text)
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
        kind, scheme = _SCHEMES[parts.scheme]
        options = _options(parts.query, kind)
        login, _, hosts = parts.netloc.rpartition("@")
        service, database, seeds = "", 0, tuple[Address, ...]()
        if kind is StoreKind.SINGLE:
            _check_single(hosts)
        else:
            service, database = _path(parts.path, kind)
            seeds = _seeds(hosts, DEFAULT_SENTINEL_PORT if kind is StoreKind.SENTINEL else DEFAULT_PORT)
        return cls(
            kind=kind,
            text=text,
            scheme=scheme,
            login=login,
            seeds=seeds,
            service=service,
            database=database,
            options=options,
        )

    def server_url(self, address: Address) -> str:
        """Return the URL of one server behind this one, with its login and options."""
        login = f"{self.login}@" if self.login else ""
        options = [pair for pair in self.options if pair[0] not in SENTINEL_OPTIONS]
        return f"{self.scheme}://{login}{_netloc(address)}/{self.database}{_query(options)}"

    def sentinel_url(self, address: Address) -> str:
        """Return the URL of a Sentinel: it has a login of its own, and the same certificates."""
        known = dict(self.options)
        user, password = (quote(known.get(f"sentinel_{name}", ""), safe="") for name in ("username", "password"))
        login = f"{user}:{password}@" if user or password else ""
        options = [pair for pair in self.options if pair[0].startswith("ssl_")]
        return f"{self.scheme}://{login}{_netloc(address)}{_query(options)}"


def _options(query: str, kind: StoreKind) -> tuple[tuple[str, str], ...]:
    options = parse_qsl(query, keep_blank_values=True)
    allowed = OPTIONS if kind is StoreKind.SENTINEL else OPTIONS - SENTINEL_OPTIONS
    unknown = sorted({name for name, _ in options} - allowed)
    if unknown:
        raise ValueError(f"has an option that is not known here: {', '.join(unknown)}")
    return tuple(options)


def _check_single(hosts: str) -> None:
    if "," in hosts:
        raise ValueError("names several hosts: begin with redis+cluster:// or redis+sentinel://")
    if hosts:
        _address(hosts, DEFAULT_PORT)


def _path(path: str, kind: StoreKind) -> tuple[str, int]:
    """Return the name of the primary and the database."""
    words = [unquote(word) for word in path.split("/") if word]
    if kind is StoreKind.CLUSTER:
        if words not in ([], ["0"]):
            raise ValueError("must name no database: a Cluster has only one")
        return "", 0
    if not words or len(words) > 2:  # noqa: PLR2004 - name and database
        raise ValueError("must name the primary: redis+sentinel://host:26379/name")
    database = words[1] if len(words) > 1 else "0"
    if not (database.isascii() and database.isdigit()):
        raise ValueError("must have a number as its database, behind the name of the primary")
    return words[0], int(database)


def _seeds(hosts: str, default_port: int) -> tuple[Address, ...]:
    names = [host for host in hosts.split(",") if host]
    if not 1 <= len(names) <= MAX_SEEDS:
        raise ValueError(f"must name 1 to {MAX_SEEDS} hosts, separated by commas")
    return tuple(_address(name, default_port) for name in names)


def _address(text: str, default_port: int) -> Address:
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not parts.hostname or port == 0:
        raise ValueError(f"has no host and port from 1 to {MAX_PORT} in {text}")
    return parts.hostname, default_port if port is None else port


def _netloc(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _query(options: list[tuple[str, str]]) -> str:
    return f"?{urlencode(options)}" if options else ""
