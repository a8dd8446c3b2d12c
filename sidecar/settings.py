"""Settings of a sidecar: read once from flags and the environment, all faults together, printed redacted at start."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger.setting_parsing import (
    REDACTED,
    Setting,
    SettingsError,
    choice,
    is_loopback,
    merge_secret_files,
    number,
    port,
    read_values,
    redact_url,
    redis_url,
    redis_url_file,
    text_of,
    token,
    token_file,
    workspace,
)
from sidecar.decision_log import WANTED

__all__ = ["SETTINGS", "Setting", "Settings", "SettingsError", "is_loopback", "redact_url"]

SECRETS: Final = ("redis_url", "push_token", "decision_token", "log_key")

RULES_SOURCES: Final = ("file", "push", "store")

SETTINGS: Final = (
    Setting(name="redis_url", parse=redis_url, default=None, unit="URL", help="Redis or Valkey", secret=True),
    Setting(name="redis_url_file", parse=redis_url_file, default=None, unit="path", help="from a file", secret=True),
    Setting(name="workspace", parse=workspace, default="default", unit="name", help="first part of every key"),
    Setting(name="partitions", parse=number(1, 4096), default="1", unit="count", help="hash tags; never changes"),
    Setting(name="host", parse=text_of, default="127.0.0.1", unit="address", help="where decisions are served"),
    Setting(name="port", parse=port, default="8787", unit="port or auto", help="where decisions are served"),
    Setting(name="unix_socket", parse=text_of, default=None, unit="path", help="decisions on a Unix socket as well"),
    Setting(name="admin_host", parse=text_of, default="127.0.0.1", unit="address", help="health and metrics"),
    Setting(name="admin_port", parse=port, default="9797", unit="port or auto", help="health and metrics"),
    Setting(name="workers", parse=number(1, 64), default="1", unit="count", help="processes that share the port"),
    Setting(name="rules", parse=text_of, default=None, unit="path", help="rule file, reloaded when it changes"),
    Setting(name="prices", parse=text_of, default=None, unit="path", help="price book beside the rules, reloaded too"),
    Setting(
        name="rules_source",
        parse=choice(*RULES_SOURCES),
        default=None,
        unit="source",
        help="file, push or store; default: file with a rule file, push with a push token, else store",
    ),
    Setting(name="data_dir", parse=text_of, default=".spendgate", unit="path", help="last good rules, embedded store"),
    Setting(
        name="journal_max_bytes",
        parse=number(1 << 20, 2**40),
        default="1073741824",
        unit="bytes",
        help="the journal's files; the oldest go first",
    ),
    Setting(name="deadline_ms", parse=number(20, 10_000), default="250", unit="ms", help="bound of a decision"),
    Setting(name="command_timeout_ms", parse=number(5, 10_000), default="100", unit="ms", help="one store round trip"),
    Setting(
        name="connect_timeout_ms", parse=number(5, 10_000), default="50", unit="ms", help="connecting to the store"
    ),
    Setting(
        name="breaker_failure_pct",
        parse=number(1, 100),
        default="50",
        unit="percent",
        help="of the last 10 script runs failed: the store is not asked until a probe finds it well",
    ),
    Setting(
        name="breaker_pause_ms", parse=number(10, 60_000), default="2000", unit="ms", help="longest between two probes"
    ),
    Setting(name="max_queue", parse=number(1, 1_000_000), default="4096", unit="operations", help="waiting, a lane"),
    Setting(name="max_batch", parse=number(1, 256), default="24", unit="operations", help="in one script"),
    Setting(name="max_body_bytes", parse=number(1024, 2**26), default="1048576", unit="bytes", help="a request's body"),
    Setting(
        name="max_rules_bytes", parse=number(1024, 2**30), default="67108864", unit="bytes", help="a pushed rule set"
    ),
    Setting(
        name="stream_max_events", parse=number(1000, 10**9), default="1000000", unit="events", help="kept, a partition"
    ),
    Setting(
        name="sweep_interval_ms", parse=number(50, 3_600_000), default="1000", unit="ms", help="expiry of idle holds"
    ),
    Setting(name="push_token", parse=token, default=None, unit="secret", help="needed to push rules", secret=True),
    Setting(
        name="push_token_file", parse=token_file, default=None, unit="path", help="the same, from a file", secret=True
    ),
    Setting(name="decision_token", parse=token, default=None, unit="secret", help="needed for decisions", secret=True),
    Setting(name="decision_token_file", parse=token_file, default=None, unit="path", help="from a file", secret=True),
    Setting(
        name="log_level", parse=choice("debug", "info", "warning", "error"), default="info", unit="level", help="logs"
    ),
    Setting(name="log_format", parse=choice("text", "json"), default="text", unit="format", help="logs"),
    Setting(name="log_decisions", parse=choice(*WANTED), default="none", unit="choice", help="a line for each"),
    Setting(
        name="log_user_ids", parse=choice("plain", "hashed", "none"), default="hashed", unit="choice", help="in those"
    ),
    Setting(name="log_key", parse=token, default=None, unit="secret", help="of the hashes of user ids", secret=True),
    Setting(name="log_key_file", parse=token_file, default=None, unit="path", help="from a file", secret=True),
    Setting(name="traces", parse=choice("off", "otlp"), default="off", unit="choice", help="OpenTelemetry (extra)"),
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
    workers: int
    rules: str | None
    prices: str | None
    rules_source: str
    data_dir: str
    journal_max_bytes: int
    deadline_ms: int
    command_timeout_ms: int
    connect_timeout_ms: int
    breaker_failure_pct: int
    breaker_pause_ms: int
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
    log_decisions: str
    log_user_ids: str
    log_key: str | None
    traces: str

    @classmethod
    def read(cls, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> "Settings":
        """Return the settings; a flag (by field name) wins over its variable.

        Raises `SettingsError` with all faults.
        """
        values, faults = read_values(SETTINGS, environment, flags)
        merge_secret_files(SECRETS, values, faults)
        values["rules_source"] = values["rules_source"] or _default_source(values)
        if not faults:
            faults = _faults_between(values)
        if faults:
            raise SettingsError(faults)
        return cls(**values)

    def describe(self) -> dict[str, object]:
        """Return the settings for the log, secrets redacted."""
        shown = {setting.name: getattr(self, setting.name) for setting in SETTINGS if hasattr(self, setting.name)}
        for name in SECRETS:
            shown[name] = shown[name] and REDACTED
        shown["redis_url"] = redact_url(self.redis_url)
        return shown


def _faults_between(values: dict[str, Any]) -> list[str]:
    faults = []
    if values["redis_url"] is None:
        faults.append("SPENDGATE_REDIS_URL: is needed; `spendgate up` starts a store of its own")
    if values["host"] is not None and not is_loopback(values["host"]) and values["decision_token"] is None:
        faults.append("SPENDGATE_DECISION_TOKEN: is needed when decisions are served beyond loopback")
    if values["rules"] is not None and values["rules_source"] != "file":
        faults.append(f"SPENDGATE_RULES: is set, but the rules come from {values['rules_source']}; keep one of them")
    if values["rules"] is None and values["rules_source"] == "file":
        faults.append("SPENDGATE_RULES: is needed when the rules come from a file")
    if values["prices"] is not None and values["rules_source"] != "file":
        faults.append("SPENDGATE_PRICES: goes with a rule file; other rules bring their prices with them")
    if values["push_token"] is None and values["rules_source"] == "push":
        faults.append("SPENDGATE_PUSH_TOKEN: is needed when rules are pushed")
    if values["workers"] > 1 and values["rules_source"] == "push":
        faults.append("SPENDGATE_WORKERS: a push would reach one worker only; take the rules from a file or the store")
    return faults


def _default_source(values: dict[str, Any]) -> str:
    if values["rules"] is not None:
        return "file"
    return "store" if values["push_token"] is None else "push"
