"""Settings of a sidecar: read once from flags and the environment, all faults together, printed redacted at start."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from ledger.keys import WORKSPACE_PATTERN

AUTO_PORT: Final = "auto"
REDACTED: Final = "***"
PASSWORD_IN_QUERY: Final = re.compile(r"([?&]password=)[^&#]*")
SERVICE_LINK: Final = "tcp://"
MIN_TOKEN_LENGTH: Final = 16


class SettingsError(Exception):
    """Settings are wrong; `faults` lists each as ``VARIABLE: what to do``."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its field in `Settings`, how to read it, its default as text, its unit, one line of help."""

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


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else -1
        if not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return parse


def _port(text: str) -> int:
    return 0 if text == AUTO_PORT else _number(1, 65535)(text)


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def _workspace(text: str) -> str:
    if not WORKSPACE_PATTERN.fullmatch(text):
        raise ValueError("must be 1 to 64 of a-z, 0-9 and -")
    return text


def _redis_url(text: str) -> str:
    if urlsplit(text).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must be a redis://, rediss:// or unix:// URL")
    return text


def _token(text: str) -> str:
    token = text.strip()
    if len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"must have at least {MIN_TOKEN_LENGTH} printable ASCII characters and no space")
    return token


def _token_file(text: str) -> str:
    try:
        return _token(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from error


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


SETTINGS: Final = (
    Setting(name="redis_url", parse=_redis_url, default=None, unit="URL", help="Redis or Valkey", secret=True),
    Setting(name="workspace", parse=_workspace, default="default", unit="name", help="first part of every key"),
    Setting(name="partitions", parse=_number(1, 4096), default="1", unit="count", help="hash tags; never changes"),
    Setting(name="host", parse=_text, default="127.0.0.1", unit="address", help="where decisions are served"),
    Setting(name="port", parse=_port, default="8787", unit="port or auto", help="where decisions are served"),
    Setting(name="unix_socket", parse=_text, default=None, unit="path", help="decisions on a Unix socket as well"),
    Setting(name="admin_host", parse=_text, default="127.0.0.1", unit="address", help="health and metrics"),
    Setting(name="admin_port", parse=_port, default="9797", unit="port or auto", help="health and metrics"),
    Setting(name="rules", parse=_text, default=None, unit="path", help="rule file, reloaded when it changes"),
    Setting(name="data_dir", parse=_text, default=".spendgate", unit="path", help="last good rules, embedded store"),
    Setting(name="deadline_ms", parse=_number(20, 10_000), default="250", unit="ms", help="bound of a decision"),
    Setting(name="command_timeout_ms", parse=_number(5, 10_000), default="100", unit="ms", help="one store round trip"),
    Setting(
        name="connect_timeout_ms", parse=_number(5, 10_000), default="50", unit="ms", help="connecting to the store"
    ),
    Setting(name="max_queue", parse=_number(1, 1_000_000), default="4096", unit="operations", help="waiting, a lane"),
    Setting(name="max_batch", parse=_number(1, 256), default="64", unit="operations", help="in one script"),
    Setting(
        name="max_body_bytes", parse=_number(1024, 2**26), default="1048576", unit="bytes", help="a request's body"
    ),
    Setting(
        name="max_rules_bytes", parse=_number(1024, 2**30), default="67108864", unit="bytes", help="a pushed rule set"
    ),
    Setting(
        name="stream_max_events", parse=_number(1000, 10**9), default="1000000", unit="events", help="kept, a partition"
    ),
    Setting(
        name="sweep_interval_ms", parse=_number(50, 3_600_000), default="1000", unit="ms", help="expiry of idle holds"
    ),
    Setting(name="push_token", parse=_token, default=None, unit="secret", help="needed to push rules", secret=True),
    Setting(
        name="push_token_file", parse=_token_file, default=None, unit="path", help="the same, from a file", secret=True
    ),
    Setting(name="decision_token", parse=_token, default=None, unit="secret", help="needed for decisions", secret=True),
    Setting(name="decision_token_file", parse=_token_file, default=None, unit="path", help="from a file", secret=True),
    Setting(
        name="log_level", parse=_choice("debug", "info", "warning", "error"), default="info", unit="level", help="logs"
    ),
    Setting(name="log_format", parse=_choice("text", "json"), default="text", unit="format", help="logs"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A sidecar's settings; see `SETTINGS` for units. Port 0 is a free one."""

    redis_url: str
    workspace: str
    partitions: int
    host: str
    port: int
    unix_socket: str | None
    admin_host: str
    admin_port: int
    rules: str | None
    data_dir: str
    deadline_ms: int
    command_timeout_ms: int
    connect_timeout_ms: int
    max_queue: int
    max_batch: int
    max_body_bytes: int
    max_rules_bytes: int
    stream_max_events: int
    sweep_interval_ms: int
    push_token: str | None
    decision_token: str | None
    log_level: str
    log_format: str

    @classmethod
    def read(cls, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> "Settings":
        """Return the settings; a flag (by field name) wins over its variable.

        Raises `SettingsError` with all faults.
        """
        values: dict[str, Any] = {}
        faults: list[str] = []
        for setting in SETTINGS:
            flag = flags.get(setting.name)
            text = flag if flag is not None else _variable(environment, setting)
            try:
                values[setting.name] = None if text is None else setting.parse(text)
            except ValueError as error:
                faults.append(f"{setting.env}: {error}")
                values[setting.name] = None
        _merge_secret_files(values, faults)
        if not faults:
            faults = _faults_between(values)
        if faults:
            raise SettingsError(faults)
        return cls(**values)

    def describe(self) -> dict[str, object]:
        """Return the settings for the log, secrets redacted."""
        shown = {setting.name: getattr(self, setting.name) for setting in SETTINGS if hasattr(self, setting.name)}
        for name in ("push_token", "decision_token"):
            shown[name] = shown[name] and REDACTED
        shown["redis_url"] = redact_url(self.redis_url)
        return shown


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
    if setting.parse is _port and text is not None and text.startswith(SERVICE_LINK):
        return setting.default
    return text


def _merge_secret_files(values: dict[str, Any], faults: list[str]) -> None:
    for name in ("push_token", "decision_token"):
        from_file = values.pop(f"{name}_file")
        if from_file is not None and values[name] is not None:
            faults.append(f"SPENDGATE_{name.upper()}: is set twice; keep it or the file, not both")
        values[name] = values[name] or from_file


def _faults_between(values: dict[str, Any]) -> list[str]:
    faults = []
    if values["redis_url"] is None:
        faults.append("SPENDGATE_REDIS_URL: is needed; `spendgate up` starts a store of its own")
    if values["host"] is not None and not is_loopback(values["host"]) and values["decision_token"] is None:
        faults.append("SPENDGATE_DECISION_TOKEN: is needed when decisions are served beyond loopback")
    return faults
