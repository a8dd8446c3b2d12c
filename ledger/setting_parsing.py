"""Settings of a process: read once from flags and the environment, all faults together, secrets never shown.

Each room lists its own settings as `Setting`s; how they are read is the same everywhere.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from ledger.keys import WORKSPACE_PATTERN
from ledger.store_url import StoreUrl

AUTO_PORT: Final = "auto"
REDACTED: Final = "***"
PASSWORD_IN_QUERY: Final = re.compile(r"([?&](?:sentinel_|ssl_)?password=)[^&#]*")
SERVICE_LINK: Final = "tcp://"
MIN_TOKEN_LENGTH: Final = 16


class SettingsError(Exception):
    """Settings are wrong; `faults` lists each as ``VARIABLE: what to do``."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its field in the settings, how to read it, its default as text, its unit, one line of help."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    unit: str
    help: str
    secret: bool = False

    @property
    def env(self) -> str:
        """The environment variable."""
        return f"SPENDGATE_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The command line's flag."""
        return f"--{self.name.replace('_', '-')}"


def read_values(
    settings: Sequence[Setting], environment: Mapping[str, str], flags: Mapping[str, str | None]
) -> tuple[dict[str, Any], list[str]]:
    """Return the value of each setting by name, None for a faulty one, and the faults.

    A flag, by the setting's name, wins over its variable.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for setting in settings:
        flag = flags.get(setting.name)
        text = flag if flag is not None else _variable(environment, setting)
        try:
            values[setting.name] = None if text is None else setting.parse(text)
        except ValueError as error:
            faults.append(f"{setting.env}: {error}")
            values[setting.name] = None
    return values, faults


def merge_secret_files(names: Sequence[str], values: dict[str, Any], faults: list[str]) -> None:
    """Put what `<name>_file` read in the place of `<name>`; both at once is a fault."""
    for name in names:
        from_file = values.pop(f"{name}_file")
        if from_file is not None and values[name] is not None:
            faults.append(f"SPENDGATE_{name.upper()}: is set twice; keep it or the file, not both")
        values[name] = values[name] or from_file


def number(low: int, high: int) -> Callable[[str], int]:
    """Return the parser of a whole number."""

    def parse(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() else -1
        if not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return parse


def port(text: str) -> int:
    """Return a TCP port; 0 is a free one."""
    return 0 if text == AUTO_PORT else number(1, 65535)(text)


def choice(*choices: str) -> Callable[[str], str]:
    """Return the parser of one of some words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def workspace(text: str) -> str:
    """Return the name of a workspace."""
    if not WORKSPACE_PATTERN.fullmatch(text):
        raise ValueError("must be 1 to 64 of a-z, 0-9 and -")
    return text


def redis_url(text: str) -> str:
    """Return the URL of a store, as `StoreUrl` describes it."""
    return StoreUrl.parse(text).text


def token(text: str) -> str:
    """Return a secret that callers send."""
    secret = text.strip()
    if len(secret) < MIN_TOKEN_LENGTH or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError(f"must have at least {MIN_TOKEN_LENGTH} printable ASCII characters and no space")
    return secret


def token_file(text: str) -> str:
    """Return the secret that a file holds."""
    try:
        return token(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from error


def redis_url_file(text: str) -> str:
    """Return the URL of a store that a file holds, with its password."""
    try:
        return redis_url(Path(text).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from error


def text_of(text: str) -> str:
    """Return text that is not empty."""
    if not text:
        raise ValueError("must not be empty")
    return text


def redact_url(url: str) -> str:
    """Return a URL without its password, which may stand before the host or, as redis-py reads it, in the query."""
    url = PASSWORD_IN_QUERY.sub(rf"\1{REDACTED}", url)
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{REDACTED}@{host}"))


def is_loopback(host: str) -> bool:
    """Say whether a listener on `host` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _variable(environment: Mapping[str, str], setting: Setting) -> str | None:
    """Return what the environment says of a setting, else its default.

    Kubernetes gives every pod SPENDGATE_PORT=tcp://... once its namespace has a Service named spendgate; that is a
    link to the Service, not a port of ours.
    """
    text = environment.get(setting.env, setting.default)
    if setting.parse is port and text is not None and text.startswith(SERVICE_LINK):
        return setting.default
    return text
