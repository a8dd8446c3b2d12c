"""The decision log: which decisions have a line, and how a user appears in it."""

import json
import logging
import sys
from typing import Any

import pytest

from ledger.decisions import Decision, Operation, Outcome, Reason
from sidecar.api.problems import shown_path
from sidecar.decision_log import DecisionLog, user_naming
from sidecar.logs import JsonFormatter, TextFormatter
from sidecar.metrics import Metrics

USER = "alice@example.com"
KEY = "a-key-of-sixteen-letters"


def _decision(outcome: Outcome = Outcome.BLOCK, **changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "operation": Operation.CHECK,
        "request_id": "call-1",
        "user_id": USER,
        "tier": "free",
        "outcome": outcome,
        "reason": Reason.LIMIT,
        "budgets": (),
        "decider": None,
        "rules_revision": 7,
        "at_ms": 0,
    }
    return Decision(**(fields | changes))


def _lines(caplog: pytest.LogCaptureFixture, choice: str, *decisions: Decision, users: str = "hashed") -> list[Any]:
    caplog.set_level(logging.INFO)
    metrics = Metrics()
    metrics.observers = (DecisionLog(choice, user_naming(users, KEY)),)
    for decision in decisions:
        metrics.record_decision(decision, 0.0015)
    return [json.loads(JsonFormatter().format(record)) for record in caplog.records]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("blocked", ["block"]), ("acted", ["warn", "dry_run", "block"]), ("all", ["allow", "warn", "dry_run", "block"])],
)
def test_the_choice_says_which_decisions_have_a_line(
    choice: str, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """From the few that users feel to every single one."""
    lines = _lines(caplog, choice, *[_decision(Outcome(word)) for word in ("allow", "warn", "dry_run", "block")])
    assert expected == [line["decision"] for line in lines]


def test_a_decision_without_the_store_always_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """It is what somebody will ask for afterwards."""
    (line,) = _lines(caplog, "blocked", _decision(Outcome.ALLOW, degraded=True, reason=Reason.STORE_UNAVAILABLE))
    assert ("allow", "store_unavailable", True) == (line["decision"], line["reason"], line["degraded"])


def test_a_line_is_one_object_with_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    """An operator finds a call by the id that the app has, and the rules by their revision."""
    (line,) = _lines(caplog, "all", _decision())
    expected = {"operation": "check", "request_id": "call-1", "tier": "free", "rules_revision": 7, "ms": 1.5}
    assert expected == {name: line[name] for name in expected}
    assert {"time", "level", "logger", "message"} <= set(line)


@pytest.mark.parametrize(("users", "field"), [("plain", "user_id"), ("hashed", "user_hash"), ("none", None)])
def test_users_appear_as_the_settings_say(users: str, field: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """Their ids are plain only where that is asked for."""
    (line,) = _lines(caplog, "all", _decision(), users=users)
    assert {"user_id", "user_hash"} & set(line) == ({field} if field else set())
    assert (users == "plain") is (USER in json.dumps(line))


def test_a_hash_is_the_same_for_a_user_and_another_with_another_key() -> None:
    """Lines of one user can be found together; without the key nobody can try ids until one fits."""
    first, second = user_naming("hashed", KEY), user_naming("hashed", None)
    assert first(USER) == first(USER)
    assert 3 == len({first(USER)["user_hash"], first("bob")["user_hash"], second(USER)["user_hash"]})


def test_text_has_the_same_fields() -> None:
    """Behind the message, for people."""
    record = logging.LogRecord("spendgate.decisions", logging.INFO, __file__, 1, "check block: limit", None, None)
    record.fields = {"request_id": "call-1"}
    assert "check block: limit request_id='call-1'" == TextFormatter("%(message)s").format(record)


def test_a_failed_path_is_logged_without_its_user() -> None:
    """A user id may stand in a path; line ends in it cannot make a line of their own either (it is quoted)."""
    assert ["/v1/usage/...", "/v1/check"] == [shown_path(path) for path in (f"/v1/usage/{USER}", "/v1/check")]


def test_a_fault_of_the_log_is_seen() -> None:
    """The formatter is used by the process itself: it must not need anything else."""
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "m", None, sys.exc_info())
    assert "m" == json.loads(JsonFormatter().format(record))["message"]
