"""What webhooks are told: notes made of events and of sidecars, their bodies as JSON or for Slack, the signature.

A note has an id that stays the same however often it is sent, so that a receiver can drop what it knows. Blocks, limits
and dry runs are told once a user, rule, window and limit, not once a call.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from controlplane.api.event_fields import event_fields
from controlplane.webhook_file import Format, Kind, Webhook
from ledger.decisions import EVENT_RETENTION_MS
from ledger.events import Event, EventType
from ledger.money import usd_text
from ledger.windows import rfc3339

NOTE_TYPE: Final = "spendgate.notes"
USER_AGENT: Final = "Spendgate-Webhook"
MAX_SLACK_LINES: Final = 20
ONCE_A_WINDOW: Final = frozenset({Kind.BLOCKED, Kind.LIMIT, Kind.DRY_RUN})
KINDS: Final[Mapping[str, Kind]] = {str(kind): kind for kind in Kind if str(kind) in {str(each) for each in EventType}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing to tell. `subject` says what it is about, once; `until_ms` how long that is remembered, Unix ms."""

    kind: Kind
    subject: str
    until_ms: int
    at_ms: int
    fields: Mapping[str, Any]
    line: str

    @property
    def id(self) -> str:
        """The same for every attempt to tell it, from whatever process."""
        return hashlib.sha256(self.subject.encode()).hexdigest()[:32]


def kind_of(event: Event) -> Kind | None:
    """Return what an event is to a webhook; None for a type that this version does not know."""
    if event.type == EventType.WARNED:
        return Kind.THRESHOLD if event.reason == "threshold" else Kind.LIMIT
    return KINDS.get(event.type)


def note_of(event: Event, webhook: Webhook) -> Note | None:
    """Return what a webhook is told of an event, None if it does not want to know."""
    kind = kind_of(event)
    if kind is None or kind not in webhook.kinds:
        return None
    if webhook.tiers is not None and event.tier not in webhook.tiers:
        return None
    until_ms = event.at_ms + EVENT_RETENTION_MS
    subject = event.position.text
    if kind in ONCE_A_WINDOW:
        window = event.window
        until_ms = until_ms if window is None else max(until_ms, window.end_s * 1000)
        about = (kind, event.reason, event.rule_id, event.user_id, window and window.code, event.limit_nanos)
        subject = "\x1f".join(str(part) for part in about)
    fields = event_fields(event)
    fields.pop("meta")  # What the app sends along is between it and its operator's log.
    line = _event_line(kind, event)
    return Note(kind=kind, subject=subject, until_ms=until_ms, at_ms=event.at_ms, fields=fields, line=line)


def health_note(kind: Kind, *, what: str, name: str, since: str, at_ms: int) -> Note:
    """Return a note of a sidecar or the store (`what`) that is degraded or has recovered, since a moment of its own."""
    state = "decides without the store" if kind is Kind.STORE_LOST else "is back to exact decisions"
    line = (
        f"{what} {name} {state}"
        if name
        else f"{what} {'does not answer' if kind is Kind.STORE_LOST else 'answers again'}"
    )
    return Note(
        kind=kind,
        subject="\x1f".join((kind, what, name, since)),
        until_ms=at_ms + EVENT_RETENTION_MS,
        at_ms=at_ms,
        fields={"what": what, "name": name or None},
        line=line,
    )


def trial_note(at_ms: int) -> Note:
    """Return a note that says that the webhook works."""
    return Note(
        kind=Kind.TEST, subject=f"test\x1f{at_ms}", until_ms=at_ms, at_ms=at_ms, fields={}, line="This is a test."
    )


def body_of(notes: Sequence[Note], webhook: Webhook, workspace: str) -> bytes:
    """Return the body of one message with these notes."""
    if webhook.format is Format.SLACK:
        return orjson.dumps({"text": _slack_text(notes, workspace)})
    return orjson.dumps(
        {
            "type": NOTE_TYPE,
            "workspace": workspace,
            "notes": [
                {"id": note.id, "kind": note.kind, "at": rfc3339(note.at_ms), "text": note.line, "event": note.fields}
                for note in notes
            ],
        }
    )


def message_id(notes: Sequence[Note]) -> str:
    """Return the id of a message: the same as long as it carries the same notes."""
    return "msg_" + hashlib.sha256("".join(note.id for note in notes).encode()).hexdigest()[:32]


def headers_of(body: bytes, webhook: Webhook, *, identity: str, at_s: int) -> dict[str, str]:
    """Return the headers of a message; signed as the Standard Webhooks specification says, if there is a secret."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": identity,
        "webhook-timestamp": str(at_s),
    }
    if webhook.secret is not None:
        signed = f"{identity}.{at_s}.".encode() + body
        digest = hmac.new(webhook.secret, signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _event_line(kind: Kind, event: Event) -> str:
    """Return an event in one sentence."""
    words = {
        Kind.THRESHOLD: "has reached an alert threshold",
        Kind.LIMIT: "is over the limit (warn)",
        Kind.BLOCKED: "was blocked",
        Kind.DRY_RUN: "would have been blocked (dry run)",
        Kind.EXPIRED: "left a hold unsettled",
        Kind.OVERRUN: "spent more than was held",
        Kind.LATE_SETTLE: "settled after the deadline",
        Kind.RECONSTRUCTED: "settled a hold that was not known any more",
        Kind.UNPRICED: "used a model without a price",
        Kind.UNATTRIBUTED: "settled what belongs to no hold",
        Kind.ADJUSTED: "was credited or corrected",
        Kind.DEGRADED: "was let through without the store",
        Kind.VOIDED: "was told no, and is not charged",
        Kind.ERASED: "is the new name of a user who was erased",
        Kind.REPAIRED: "had a counter that was put right",
    }
    parts = [f"{event.user_id or '(no user)'} {words[kind]}"]
    if event.spend_nanos is not None:
        limit = "" if event.limit_nanos is None else f" of {_usd(event.limit_nanos)}"
        window = "" if event.window is None else f" this {event.window.type}"
        parts.append(f"{_usd(event.spend_nanos)}{limit}{window}")
    if kind not in ONCE_A_WINDOW and kind is not Kind.THRESHOLD:
        parts.append(f"amount {_usd(event.amount_nanos)}")
    if event.tier:
        parts.append(f"tier {event.tier}")
    if event.model:
        parts.append(event.model)
    return ", ".join(parts)


def _usd(nanos: int) -> str:
    return f"{'-' if nanos < 0 else ''}${usd_text(abs(nanos))}"


def _slack_text(notes: Sequence[Note], workspace: str) -> str:
    lines = [f"*Spendgate* ({workspace})"]
    lines += [f"• {_escaped(note.line)}" for note in notes[:MAX_SLACK_LINES]]
    if len(notes) > MAX_SLACK_LINES:
        lines.append(f"and {len(notes) - MAX_SLACK_LINES} more")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return text without links and mentions: the three characters that Slack's text gives a meaning."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
