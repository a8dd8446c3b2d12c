"""The file that names the webhooks: which address is told of what, in which form, signed with which secret."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ledger.errors import InvalidInput, RuleSetInvalid
from ledger.events import EventType
from ledger.names import parse_name
from ledger.sections import Faults, Section, section_at
from ledger.setting_parsing import is_loopback
from ledger.yaml_documents import load_yaml

MAX_WEBHOOKS: Final = 32
MAX_FILE_BYTES: Final = 1 << 20
MAX_URL_LENGTH: Final = 2048
MIN_SECRET_BYTES: Final = 16
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret in base64 begins with
NAME: Final = re.compile(r"[a-z0-9-]{1,64}")
FIELDS: Final = frozenset({"name", "url", "format", "secret_file", "events", "tiers"})


class Format(StrEnum):
    """How a webhook wants to be told."""

    JSON = "json"
    SLACK = "slack"


class Kind(StrEnum):
    """What a webhook can be told of.

    `store_lost` and `store_back` are about sidecars and the control plane, `test` is sent when somebody asks for it,
    the rest are events.
    """

    THRESHOLD = "threshold"
    LIMIT = "limit"
    BLOCKED = EventType.BLOCKED
    DRY_RUN = EventType.DRY_RUN
    EXPIRED = EventType.EXPIRED
    OVERRUN = EventType.OVERRUN
    LATE_SETTLE = EventType.LATE_SETTLE
    RECONSTRUCTED = EventType.RECONSTRUCTED
    UNPRICED = EventType.UNPRICED
    UNATTRIBUTED = EventType.UNATTRIBUTED
    ADJUSTED = EventType.ADJUSTED
    ERASED = EventType.ERASED
    REPAIRED = EventType.REPAIRED
    DEGRADED = EventType.DEGRADED
    VOIDED = EventType.VOIDED
    STORE_LOST = "store_lost"
    STORE_BACK = "store_back"
    TEST = "test"


DEFAULT_KINDS: Final = frozenset({Kind.THRESHOLD, Kind.BLOCKED, Kind.STORE_LOST, Kind.STORE_BACK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One address. With `tiers` only events of calls with one of these tiers are told."""

    name: str
    url: str
    format: Format = Format.JSON
    secret: bytes | None = field(default=None, repr=False)
    kinds: frozenset[Kind] = DEFAULT_KINDS
    tiers: frozenset[str] | None = None

    @property
    def host(self) -> str:
        """Where it goes, without what may be secret in its path."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


def read_webhooks(path: Path) -> tuple[Webhook, ...]:
    """Return the webhooks of a YAML file; secret files are relative to it.

    Raises `InvalidInput` when the file cannot be read, and for its faults, each with its path.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"webhooks: {path} cannot be read: {error.strerror}", field="webhooks") from error
    if len(body) > MAX_FILE_BYTES:
        raise InvalidInput(f"webhooks: {path} is larger than {MAX_FILE_BYTES} bytes", field="webhooks")
    try:
        document = load_yaml(body)
    except ValueError as error:
        raise InvalidInput(f"webhooks: {path} {error}", field="webhooks") from None
    try:
        return parse_webhooks(document, directory=path.parent)
    except RuleSetInvalid as invalid:
        faults = "".join(f"\n  {where}: {message}" for where, message in invalid.faults)
        raise InvalidInput(f"webhooks: {path} is refused:{faults}", field="webhooks") from invalid


def parse_webhooks(document: object, *, directory: Path) -> tuple[Webhook, ...]:
    """Return the webhooks of a decoded file. Raises `RuleSetInvalid` with every fault."""
    faults = Faults()
    top = section_at(document, path="", faults=faults, known=frozenset({"webhooks"}))
    entries = top.get("webhooks")
    if not isinstance(entries, list) or len(entries) > MAX_WEBHOOKS:
        faults.add("webhooks", f"must be a list of at most {MAX_WEBHOOKS} webhooks")
        entries = []
    webhooks = [_parse(entry, f"webhooks[{index}]", directory, faults) for index, entry in enumerate(entries)]
    names: dict[str, int] = {}
    for index, webhook in enumerate(webhooks):
        first = names.setdefault(webhook.name, index)
        if first != index and webhook.name:
            faults.add(f"webhooks[{index}].name", f"is the name of webhooks[{first}]")
    faults.raise_if_any()
    return tuple(webhooks)


def _parse(entry: object, path: str, directory: Path, faults: Faults) -> Webhook:
    section = section_at(entry, path=path, faults=faults, known=FIELDS)
    return Webhook(
        name=section.require("name", _name, ""),
        url=section.require("url", _url, ""),
        format=section.choose("format", {str(each): each for each in Format}, Format.JSON),
        secret=_secret(section, directory),
        kinds=_kinds(section),
        tiers=_tiers(section),
    )


def _name(value: object, *, field: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise InvalidInput(f"{field} must be 1-64 of a-z, 0-9 and -", field=field)
    return value


def _url(value: object, *, field: str) -> str:
    text = value if isinstance(value, str) and len(value) <= MAX_URL_LENGTH else ""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in {"http", "https"} or port == 0 or not text.isprintable() or " " in text:
        raise InvalidInput(f"{field} must be an https:// address", field=field)
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidInput(f"{field} must be an https:// address: it names users and what they spent", field=field)
    return text


def _secret(section: Section, directory: Path) -> bytes | None:
    name = section.get("secret_file")
    if name is None:
        return None
    if not isinstance(name, str) or not name:
        section.fault("secret_file", "must be the path of a file")
        return None
    try:
        text = (directory / name).read_text().strip()
        secret = (
            base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True) if _is_encoded(text) else text.encode()
        )
    except (OSError, UnicodeError, binascii.Error) as error:
        section.fault("secret_file", f"cannot be read: {getattr(error, 'strerror', None) or error}")
        return None
    if len(secret) < MIN_SECRET_BYTES:
        section.fault("secret_file", f"has fewer than {MIN_SECRET_BYTES} bytes of secret")
    return secret


def _is_encoded(text: str) -> bool:
    return text.startswith(SECRET_PREFIX)


def _kinds(section: Section) -> frozenset[Kind]:
    words = section.get("events")
    if words is None:
        return DEFAULT_KINDS
    known: Mapping[str, Kind] = {str(kind): kind for kind in Kind if kind is not Kind.TEST}
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word in known for word in words):
        section.fault("events", f"must be a list of {', '.join(known)}")
        return DEFAULT_KINDS
    return frozenset(known[word] for word in words)


def _tiers(section: Section) -> frozenset[str] | None:
    words = section.get("tiers")
    if words is None:
        return None
    if not isinstance(words, list) or not words:
        section.fault("tiers", "must be a list of tiers")
        return None
    tiers = set()
    for index, word in enumerate(words):
        try:
            tiers.add(parse_name(word, field="tier", refuse_any_tier=True))
        except InvalidInput as error:
            section.fault(f"tiers[{index}]", error.message)
    return frozenset(tiers)
