"""Settings of a control plane: read once from flags and the environment, all faults together, secrets redacted."""

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

SECRETS: Final = ("read_token", "write_token", "push_token", "events_token")

SETTINGS: Final = (
    Setting(name="redis_url", parse=redis_url, default=None, unit="URL", help="Redis or Valkey", secret=True),
    Setting(name="redis_url_file", parse=redis_url_file, default=None, unit="path", help="from a file", secret=True),
    Setting(name="workspace", parse=workspace, default="default", unit="name", help="first part of every key"),
    Setting(name="partitions", parse=number(1, 4096), default="1", unit="count", help="hash tags; never changes"),
    Setting(name="control_host", parse=text_of, default="127.0.0.1", unit="address", help="where the page is served"),
    Setting(name="control_port", parse=port, default="8788", unit="port or auto", help="where the page is served"),
    Setting(
        name="control_admin_host", parse=text_of, default="127.0.0.1", unit="address", help="the page's health, metrics"
    ),
    Setting(
        name="control_admin_port", parse=port, default="9798", unit="port or auto", help="the page's health, metrics"
    ),
    Setting(
        name="public_url", parse=text_of, default=None, unit="URL", help="where browsers find the page, if a proxy"
    ),
    Setting(name="seed", parse=text_of, default=None, unit="path", help="rule file imported into an empty store, once"),
    Setting(
        name="seed_prices", parse=text_of, default=None, unit="path", help="price book put into an empty store, once"
    ),
    Setting(name="webhooks", parse=text_of, default=None, unit="path", help="file that names who is told of what"),
    Setting(
        name="control_data_dir", parse=text_of, default=None, unit="path", help="where adjustments outlive the store"
    ),
    Setting(
        name="stream_max_events", parse=number(1000, 10**9), default="1000000", unit="events", help="kept, a partition"
    ),
    Setting(
        name="max_rules_bytes", parse=number(1024, 2**30), default="67108864", unit="bytes", help="an imported rule set"
    ),
    Setting(
        name="session_hours", parse=number(1, 24 * 30), default="12", unit="hours", help="until a log-in ends by itself"
    ),
    Setting(name="read_token", parse=token, default=None, unit="secret", help="may look at everything", secret=True),
    Setting(name="read_token_file", parse=token_file, default=None, unit="path", help="from a file", secret=True),
    Setting(name="write_token", parse=token, default=None, unit="secret", help="may change everything", secret=True),
    Setting(name="write_token_file", parse=token_file, default=None, unit="path", help="from a file", secret=True),
    Setting(name="push_token", parse=token, default=None, unit="secret", help="may import and export", secret=True),
    Setting(name="push_token_file", parse=token_file, default=None, unit="path", help="from a file", secret=True),
    Setting(name="events_token", parse=token, default=None, unit="secret", help="may send usage events", secret=True),
    Setting(name="events_token_file", parse=token_file, default=None, unit="path", help="from a file", secret=True),
    Setting(
        name="log_level", parse=choice("debug", "info", "warning", "error"), default="info", unit="level", help="logs"
    ),
    Setting(name="log_format", parse=choice("text", "json"), default="text", unit="format", help="logs"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A control plane's settings; see `SETTINGS` for units. Port 0 is a free one."""

    redis_url: str
    workspace: str
    partitions: int
    control_host: str
    control_port: int
    control_admin_host: str
    control_admin_port: int
    public_url: str | None
    seed: str | None
    seed_prices: str | None
    webhooks: str | None
    control_data_dir: str | None
    stream_max_events: int
    max_rules_bytes: int
    session_hours: int
    read_token: str | None
    write_token: str | None
    push_token: str | None
    events_token: str | None
    log_level: str
    log_format: str

    @classmethod
    def read(cls, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> "Settings":
        """Return the settings; a flag (by field name) wins over its variable.

        Raises `SettingsError` with all faults.
        """
        values, faults = read_values(SETTINGS, environment, flags)
        merge_secret_files(("redis_url", *SECRETS), values, faults)
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

    @property
    def is_open(self) -> bool:
        """Say whether whoever reaches the listener may do everything, which only loopback allows."""
        return self.read_token is None and self.write_token is None


def _faults_between(values: dict[str, Any]) -> list[str]:
    faults = []
    if values["redis_url"] is None:
        faults.append("SPENDGATE_REDIS_URL: is needed; `spendgate up` starts a store of its own")
    if not is_loopback(values["control_host"]) and values["write_token"] is None:
        faults.append("SPENDGATE_WRITE_TOKEN: is needed when the page is served beyond loopback")
    given = [values[name] for name in SECRETS if values[name] is not None]
    if len(set(given)) != len(given):
        names = ", ".join(f"SPENDGATE_{name.upper()}" for name in SECRETS)
        faults.append(f"{names}: must differ from each other")
    if values["read_token"] is not None and values["write_token"] is None:
        faults.append("SPENDGATE_WRITE_TOKEN: is needed beside a read token, or nobody could change a rule")
    public = values["public_url"]
    if public is not None and not public.startswith(("http://", "https://")):
        faults.append("SPENDGATE_PUBLIC_URL: must begin with http:// or https://")
    return list(dict.fromkeys(faults))
