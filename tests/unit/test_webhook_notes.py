"""What webhooks are told: which events, once or each time, as JSON or text, and signed."""

import base64
import hashlib
import hmac
from typing import Any

import orjson
import pytest

from controlplane.webhook_file import Format, Kind, Webhook
from controlplane.webhook_notes import body_of, headers_of, health_note, kind_of, message_id, note_of
from ledger.events import Event, EventType, Position, decode_event
from tests.support.event_streams import event_fields

ALL = frozenset(Kind)


def _webhook(**changes: Any) -> Webhook:
    return Webhook(**({"name": "ops", "url": "https://hooks.example.com", "kinds": ALL} | changes))


def _event(number: int = 0, **changes: object) -> Event:
    fields = {name.encode(): value.encode() for name, value in event_fields(**changes).items()}
    return decode_event(Position(1000, number, 0), fields)


def _note(webhook: Webhook | None = None, **changes: object) -> Any:
    return note_of(_event(**changes), webhook or _webhook())


@pytest.mark.parametrize("kind", [each for each in EventType if each is not EventType.WARNED])
def test_every_event_has_its_kind(kind: EventType) -> None:
    """A type that is added needs a word here, or nobody can ask for it."""
    assert kind_of(_event(type=kind)) == Kind(kind)
    assert _note(type=kind).line


@pytest.mark.parametrize(("reason", "kind"), [("threshold", Kind.THRESHOLD), ("limit", Kind.LIMIT)])
def test_warnings_are_of_two_kinds(reason: str, kind: Kind) -> None:
    """A threshold is reached once; a limit is passed by every call."""
    assert _note(type="warned", reason=reason).kind is kind


def test_only_what_is_wanted_is_told() -> None:
    """By kind, by tier; a type of a newer version is nobody's."""
    assert _note(_webhook(kinds=frozenset({Kind.EXPIRED}))) is None
    assert _note(_webhook(tiers=frozenset({"pro"}))) is None
    assert _note(_webhook(tiers=frozenset({"free"}))) is not None
    assert _note(type="invented") is None


@pytest.mark.parametrize("kind", ["blocked", "dry_run", "warned"])
def test_calls_over_a_limit_are_one_note(kind: str) -> None:
    """Of one user, rule, window and limit; a raised limit that is hit again is another."""
    first = _note(type=kind)
    same = note_of(_event(7, type=kind, request="r-2", spend=6_000_000_000), _webhook())
    others = [
        _note(type=kind, user="bob"),
        _note(type=kind, rule="rule-2"),
        _note(type=kind, limit=9_000_000_000),
        _note(type=kind, window="day:1769904000:1769990400"),
    ]
    assert same is not None
    assert first.id == same.id
    assert len({first.id, *(each.id for each in others)}) == 5


def test_other_events_are_told_each() -> None:
    """Two expired holds are two notes, remembered as long as their events are kept."""
    notes = [note_of(_event(number, type="expired"), _webhook()) for number in range(2)]
    assert len({note.id for note in notes if note}) == 2


def test_what_the_app_sent_along_stays_here() -> None:
    """A call's `meta` is for the operator's log."""
    assert "meta" not in _note(meta='{"secret": 1}').fields


def test_a_json_body_has_the_event() -> None:
    """With the id that stays the same, the kind and a sentence."""
    note = _note()
    body = orjson.loads(body_of([note], _webhook(), "default"))
    assert ("spendgate.notes", "default") == (body["type"], body["workspace"])
    (told,) = body["notes"]
    assert (note.id, "blocked", "alice", 5) == (
        told["id"],
        told["kind"],
        told["event"]["user_id"],
        told["event"]["limit_usd"],
    )
    assert told["text"] == "alice was blocked, $5.00 of $5.00 this day, tier free, gpt-5"


def test_a_slack_body_is_text_that_can_do_nothing() -> None:
    """A user's name is no mention and no link; many notes are cut."""
    webhook = _webhook(format=Format.SLACK)
    notes = [_note(user="<!channel>&", rule=f"rule-{number}") for number in range(25)]
    text = orjson.loads(body_of(notes, webhook, "default"))["text"]
    assert "<" not in text
    assert text.count("&lt;!channel&gt;&amp;") == 20
    assert text.endswith("and 5 more")


def test_a_message_is_signed_as_the_specification_says() -> None:
    """HMAC-SHA256 over id, timestamp and body, in base64 (standardwebhooks.com)."""
    webhook = _webhook(secret=b"0123456789abcdef")
    headers = headers_of(b"{}", webhook, identity="msg_1", at_s=17)
    digest = hmac.new(b"0123456789abcdef", b"msg_1.17.{}", hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert ("msg_1", "17") == (headers["webhook-id"], headers["webhook-timestamp"])
    assert "webhook-signature" not in headers_of(b"{}", _webhook(), identity="msg_1", at_s=17)


def test_a_message_keeps_its_id_when_it_is_sent_again() -> None:
    """And two messages have two."""
    assert message_id([_note()]) == message_id([_note()])
    assert message_id([_note()]) != message_id([_note(user="bob")])


def test_health_is_told_in_a_sentence() -> None:
    """Of a sidecar and of the store."""
    lines = [
        health_note(kind, what=what, name=name, since="1", at_ms=1).line
        for kind in (Kind.STORE_LOST, Kind.STORE_BACK)
        for what, name in (("sidecar", "pod-1"), ("the store", ""))
    ]
    assert lines == [
        "sidecar pod-1 decides without the store",
        "the store does not answer",
        "sidecar pod-1 is back to exact decisions",
        "the store answers again",
    ]
