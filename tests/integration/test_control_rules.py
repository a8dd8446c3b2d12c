"""Rules over HTTP: made, changed under optimistic locking, listed, imported, exported, restored; the plan gate."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.support.control_plane import Answer, ControlPlane, control_plane

TEMPLATES, OVERRIDES = "/api/v1/templates", "/api/v1/overrides"
TEMPLATE = {"key": "free", "limit_usd": 5, "action": "block"}
OVERRIDE = {"key": "user-42", "limit_usd": "200.50", "window": "day", "change_note": "a launch"}


@pytest_asyncio.fixture(loop_scope="function")
async def control(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane without rules."""
    async with control_plane(valkey_url) as running:
        yield running


async def _made(control: ControlPlane, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await control.call("POST", path, body)
    assert 201 == answer.status, answer.body
    row: dict[str, Any] = answer.document
    return row


def _match(revision: object) -> dict[str, str]:
    return {"If-Match": f'"{revision}"'}


async def _put(control: ControlPlane, row: dict[str, Any], **changes: object) -> Answer:
    """PUT a row as a page would: its terms, without what it inherits."""
    names = ("key", "limit_usd", "window", "action", "alert_thresholds_pct", "status", "expires_at", "note")
    body = {name: row[name] for name in names} | changes
    path = TEMPLATES if row["kind"] == "tier_template" else OVERRIDES
    return await control.call("PUT", f"{path}/{row['id']}", body, headers=_match(row["revision"]))


async def _items(control: ControlPlane, path: str, **parameters: str) -> list[str]:
    """Return the keys on every page of a list."""
    keys: list[str] = []
    while True:
        answer = await control.call("GET", path, params=parameters)
        assert 200 == answer.status, answer.body
        keys += [row["key"] for row in answer.document["items"]]
        cursor = answer.document["next_cursor"]
        if cursor is None:
            return keys
        parameters["cursor"] = cursor


async def test_a_new_rule_shows_every_field(control: ControlPlane) -> None:
    """Also those that it inherits, and which these are."""
    answer = await control.call("POST", OVERRIDES, OVERRIDE)
    row = answer.document
    assert (201, '"1"', f"{OVERRIDES}/{row['id']}") == (
        answer.status,
        answer.headers["ETag"],
        answer.headers["Location"],
    )
    expected = {
        "kind": "user_override",
        "key": "user-42",
        "limit_usd": 200.5,
        "window": "day",
        "action": "warn",
        "alert_thresholds_pct": [80],
        "status": "active",
        "timezone": "UTC",
        "week_start": "monday",
        "on_store_failure": "allow",
        "on_unpriced": "allow",
        "wait_for_replica": False,
        "expires_at": None,
        "note": "",
        "inherited": ["timezone", "week_start", "on_store_failure", "on_unpriced"],
        "state": "active",
        "revision": 1,
        "updated_by": "local",
        "spend_usd": 0.0,
        "held_usd": 0.0,
        "remaining_usd": 200.5,
        "percent": 0.0,
        "calls": 0,
    }
    assert expected == {name: row[name] for name in expected}
    assert row == (await control.call("GET", answer.headers["Location"])).document


async def test_a_change_needs_the_revision_that_was_seen(control: ControlPlane) -> None:
    """Without it 428, with an old one 412 and the row as it is now, with a strange one 400."""
    row = await _made(control, TEMPLATES, TEMPLATE)
    path = f"{TEMPLATES}/{row['id']}"
    assert (428, "precondition_required") == _problem(await control.call("PUT", path, TEMPLATE))
    assert (428, "precondition_required") == _problem(await control.call("DELETE", path))
    second = await _put(control, row, limit_usd=7)
    assert (200, '"2"', 7.0) == (second.status, second.headers["ETag"], second.document["limit_usd"])
    late = await _put(control, row, limit_usd=9)
    assert (412, "precondition_failed") == _problem(late)
    assert (7.0, 2) == (late.document["current"]["limit_usd"], late.document["current"]["revision"])
    assert (412, "precondition_failed") == _problem(await control.call("DELETE", path, headers=_match(1)))
    for strange in ("*", 'W/"2"', "2", '"2", "3"', '"-1"'):
        faulty = await control.call("DELETE", path, headers={"If-Match": strange})
        assert (400, "If-Match") == (faulty.status, faulty.document["field"])
    assert 204 == (await control.call("DELETE", path, headers=_match(2))).status
    assert (404, "rule_not_found") == _problem(await control.call("GET", path))


def _problem(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.code


async def test_of_two_changes_at_once_one_is_told(control: ControlPlane) -> None:
    """Never both, never none."""
    row = await _made(control, TEMPLATES, TEMPLATE)
    answers = await asyncio.gather(*(_put(control, row, limit_usd=limit) for limit in range(10, 20)))
    assert [200, *[412] * 9] == sorted(answer.status for answer in answers)


async def test_a_second_rule_for_a_key_and_window_is_refused(control: ControlPlane) -> None:
    """With the one that is there."""
    row = await _made(control, TEMPLATES, TEMPLATE)
    answer = await control.call("POST", TEMPLATES, TEMPLATE | {"limit_usd": 1})
    assert (409, "rule_exists", row["id"]) == (answer.status, answer.code, answer.document["current"]["id"])
    assert "day" == (await _made(control, TEMPLATES, TEMPLATE | {"window": "day"}))["window"]


@pytest.mark.parametrize(
    ("path", "body", "paths"),
    [
        (TEMPLATES, {}, ["key", "limit_usd"]),
        (TEMPLATES, TEMPLATE | {"limit_usd": -1}, ["limit_usd"]),
        (TEMPLATES, TEMPLATE | {"limit_usd": "1e3.5", "window": "year"}, ["window", "limit_usd"]),
        (TEMPLATES, TEMPLATE | {"kind": "user_override"}, ["kind"]),
        (TEMPLATES, TEMPLATE | {"id": "mine"}, ["id"]),
        (OVERRIDES, OVERRIDE | {"key": "*"}, ["key"]),
        (OVERRIDES, OVERRIDE | {"key": "a\r\nb"}, ["key"]),
        (OVERRIDES, OVERRIDE | {"timezone": "Mars/Base"}, ["timezone"]),
    ],
)
async def test_faults_are_told_by_field(control: ControlPlane, path: str, body: object, paths: list[str]) -> None:
    """All of them, and nothing is written."""
    answer = await control.call("POST", path, body)
    assert (400, "invalid_rules") == _problem(answer)
    assert paths == [fault["path"] for fault in answer.document["faults"]]
    assert 0 == (await control.call("GET", path)).document["revision"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"limits_usd": 1}', b"\xff", b'{"limit_usd": 1, "limit_usd": 2}', b"[" * 99_999]
)
async def test_a_body_that_is_no_rule_is_refused(control: ControlPlane, body: bytes) -> None:
    """As the caller's fault."""
    assert 400 == (await control.call("POST", TEMPLATES, body)).status


async def test_rules_of_the_other_kind_are_not_found(control: ControlPlane) -> None:
    """A template is no override."""
    row = await _made(control, TEMPLATES, TEMPLATE)
    assert 404 == (await control.call("GET", f"{OVERRIDES}/{row['id']}")).status


async def test_lists_are_filtered_sorted_and_paged(control: ControlPlane) -> None:
    """Each order in both directions, page by page without loss or repetition."""
    limits = {"b": 3, "A": 1, "c": None, "d": 2}
    for key, limit in limits.items():
        action = "block" if key == "b" else "warn"
        await _made(control, OVERRIDES, {"key": key, "limit_usd": limit, "action": action, "note": f"of {key}"})
    row = (await control.call("GET", OVERRIDES, params={"q": "d"})).document["items"][0]
    await _put(control, row, status="disabled")
    orders = {
        ("key", "asc"): ["A", "b", "c", "d"],
        ("limit", "asc"): ["A", "d", "b", "c"],
        ("limit", "desc"): ["c", "b", "d", "A"],
        ("updated", "asc"): ["b", "A", "c", "d"],
        ("spend", "asc"): ["A", "b", "c", "d"],
        ("percent", "desc"): ["d", "b", "A", "c"],
    }
    for (sort, order), expected in orders.items():
        assert expected == await _items(control, OVERRIDES, sort=sort, order=order, limit="1"), sort
    assert ["b"] == await _items(control, OVERRIDES, q="B")
    assert ["c"] == await _items(control, OVERRIDES, q="OF C")
    assert ["b"] == await _items(control, OVERRIDES, action="block")
    assert ["d"] == await _items(control, OVERRIDES, status="disabled")
    assert ["A", "b", "c"] == await _items(control, OVERRIDES, status="active,expired", window="month")
    page = (await control.call("GET", OVERRIDES, params={"status": "active", "limit": "2"})).document
    assert (3, 2, 5) == (page["total"], len(page["items"]), page["revision"])


@pytest.mark.parametrize(
    ("field", "parameters"),
    [
        ("sort", {"sort": "name"}),
        ("order", {"order": "up"}),
        ("status", {"status": "gone"}),
        ("limit", {"limit": "0"}),
        ("limit", {"limit": "201"}),
        ("cursor", {"cursor": "!"}),
        ("cursor", {"cursor": "W10"}),
        ("cursor", {"cursor": "WyJrZXkiLDEsMiwzLDRd"}),
        ("cursor", {"cursor": "bnVsbA"}),
        ("colour", {"colour": "red"}),
    ],
)
async def test_a_faulty_question_is_told_the_parameter(
    control: ControlPlane, field: str, parameters: dict[str, str]
) -> None:
    """Never our fault."""
    answer = await control.call("GET", OVERRIDES, params=parameters)
    assert (400, field) == (answer.status, answer.document["field"])


async def test_an_ended_rule_is_expired(control: ControlPlane) -> None:
    """By the store's clock."""
    await _made(control, OVERRIDES, OVERRIDE | {"expires_at": "2020-01-01T00:00:00Z"})
    (row,) = (await control.call("GET", OVERRIDES)).document["items"]
    assert "expired" == row["state"]
    assert ["user-42"] == await _items(control, OVERRIDES, status="expired")
    assert [] == await _items(control, OVERRIDES, status="active")


@pytest.mark.parametrize("plan", ["free", "starter"])
async def test_below_growth_rules_cannot_be_written(control: ControlPlane, plan: str) -> None:
    """402 for each way to write; reading and the way back stay open."""
    row = await _made(control, TEMPLATES, TEMPLATE)
    assert 200 == (await control.call("PUT", "/api/v1/settings", {"plan": plan}, headers=_match(0))).status
    path = f"{TEMPLATES}/{row['id']}"
    csv = {"headers": {"Content-Type": "text/csv", **_match(2)}}
    answers = [
        await control.call("POST", OVERRIDES, OVERRIDE),
        await control.call("PUT", path, TEMPLATE, headers=_match(1)),
        await control.call("DELETE", path, headers=_match(1)),
        await control.call("POST", f"{OVERRIDES}/import", b"user_id,limit_usd\na,1\n", **csv),
        await control.call("POST", "/api/v1/rules/import", {"rules": []}, headers={"Content-Type": "application/json"}),
        await control.call("POST", "/api/v1/rules/restore", {"revision": 1}),
    ]
    assert [(402, "plan_required")] * 6 == [_problem(answer) for answer in answers]
    assert ["free"] == await _items(control, TEMPLATES)
    assert 200 == (await control.call("PUT", "/api/v1/settings", {"plan": "growth"}, headers=_match(2))).status
    assert 204 == (await control.call("DELETE", path, headers=_match(1))).status


async def test_settings_are_changed_under_their_own_revision(control: ControlPlane) -> None:
    """Changes of rules in between do not count; changes of settings do."""
    first = await control.call("GET", "/api/v1/settings")
    assert ('"0"', "enforce", "growth") == (
        first.headers["ETag"],
        first.document["mode"],
        first.document["plan"],
    )
    await _made(control, TEMPLATES, TEMPLATE)
    stop = {"mode": "stop", "timezone": "Asia/Tokyo", "change_note": "a runaway agent"}
    second = await control.call("PUT", "/api/v1/settings", stop, headers=_match(0))
    assert (200, '"2"', "stop") == (second.status, second.headers["ETag"], second.document["mode"])
    late = await control.call("PUT", "/api/v1/settings", {"mode": "observe"}, headers=_match(0))
    assert (412, "stop") == (late.status, late.document["current"]["mode"])
    assert 428 == (await control.call("PUT", "/api/v1/settings", {"mode": "observe"})).status
    faulty = await control.call("PUT", "/api/v1/settings", {"mode": "off", "timezone": "x"}, headers=_match(2))
    assert (400, 2) == (faulty.status, len(faulty.document["faults"]))
    (row,) = (await control.call("GET", TEMPLATES)).document["items"]
    assert ("Asia/Tokyo", 1) == (row["timezone"], row["revision"])


async def test_the_trail_tells_who_what_when_and_why(control: ControlPlane) -> None:
    """Newest first, with before and after."""
    row = await _made(control, OVERRIDES, OVERRIDE)
    headers = {"X-Spendgate-Actor": "ann", **_match(1)}
    path = f"{OVERRIDES}/{row['id']}"
    assert 200 == (await control.call("PUT", path, OVERRIDE | {"limit_usd": 1}, headers=headers)).status
    await control.call("DELETE", f"{path}?change_note=over", headers=_match(2))
    trail = (await control.call("GET", "/api/v1/audit", params={"limit": "2"})).document
    assert [(3, "local", "over"), (2, "ann (local)", "a launch")] == [
        (entry["revision"], entry["actor"], entry["note"]) for entry in trail["items"]
    ]
    (deleted,), (changed,) = (entry["changes"] for entry in trail["items"])
    assert (None, "1.00") == (deleted["after"], deleted["before"]["limit_usd"])
    assert ("200.50", "1.00") == (changed["before"]["limit_usd"], changed["after"]["limit_usd"])
    rest = (await control.call("GET", "/api/v1/audit", params={"cursor": trail["next_cursor"]})).document
    assert ([1], None) == ([entry["revision"] for entry in rest["items"]], rest["next_cursor"])


@pytest.mark.parametrize("accept", ["application/json", "application/yaml"])
async def test_an_export_imports_as_nothing_new(control: ControlPlane, accept: str) -> None:
    """Whatever is in it: hostile names, notes of several lines, policies, prices."""
    hostile = ["=cmd|'/C calc'!A0", "<script>alert(1)</script>", "{0}:{rules}", "\u05d0\u05d1", "no", "x" * 256, "'"]
    rules = [{"kind": "user_override", "key": key, "limit_usd": 1, "note": f"{key}\nand more: {{}}"} for key in hostile]
    rules.append(
        {"kind": "tier_template", "key": "*", "limit_usd": None, "on_store_failure": {"allow_up_to_usd": 0.25}}
    )
    price = {"model": "m", "input_usd_per_million": "0.15", "output_usd_per_million": 1}
    document = {"workspace": {"timezone": "Europe/Berlin", "on_expiry": "release"}, "rules": rules, "prices": [price]}
    body, kind = json.dumps(document).encode(), {"Content-Type": "application/json"}
    done = await control.call("POST", "/api/v1/rules/import", body, headers=kind)
    assert (200, 8, '"1"') == (done.status, done.document["counts"]["added"], done.headers["ETag"])
    export = await control.call("GET", "/api/v1/rules/export", headers={"Accept": accept})
    assert (accept, '"1"') == (export.headers["Content-Type"], export.headers["ETag"])
    parsed = yaml.safe_load(export.body) if accept.endswith("yaml") else json.loads(export.body)
    assert sorted([*hostile, "*"]) == sorted(rule["key"] for rule in parsed["rules"])
    again = await control.call(
        "POST", "/api/v1/rules/import?dry_run=true", export.body, headers={"Content-Type": accept}
    )
    assert {"added": 0, "changed": 0, "removed": 0, "unchanged": 8} == again.document["counts"]
    assert (None, False) == (again.document["settings"], again.document["prices_change"])
    without = await control.call("GET", "/api/v1/rules/export?ids=false", headers={"Accept": "application/json"})
    assert not any("id" in rule for rule in without.document["rules"])


async def test_an_import_tells_first_what_it_would_do(control: ControlPlane) -> None:
    """Before and after; what the document leaves out is removed; ids of the same place stay."""
    kept = await _made(control, TEMPLATES, TEMPLATE)
    gone = await _made(control, TEMPLATES, TEMPLATE | {"key": "old"})
    document = {"rules": [{"kind": "tier_template", "key": "free", "limit_usd": 6, "action": "block"}]}
    kind = {"Content-Type": "application/json"}
    diff = (await control.call("POST", "/api/v1/rules/import?dry_run=true", document, headers=kind)).document
    assert [(kept["id"], "5.00", "6.00")] == [
        (change["id"], change["before"]["limit_usd"], change["after"]["limit_usd"]) for change in diff["changed"]
    ]
    assert [gone["id"]] == [change["id"] for change in diff["removed"]]
    assert 2 == (await control.call("GET", TEMPLATES)).document["revision"]
    late = await control.call("POST", "/api/v1/rules/import", document, headers=kind | _match(1))
    assert 412 == late.status
    done = await control.call("POST", "/api/v1/rules/import?change_note=x", document, headers=kind | _match(2))
    assert {"added": 0, "changed": 1, "removed": 1, "unchanged": 0} == done.document["counts"]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/yaml", b"rules: [", 400),
        ("application/yaml", b"rules: []\nrules: []", 400),
        ("application/json", b'{"rules": [], "rules": []}', 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/yaml", b"- 1", 400),
        ("application/json", b'{"rules": 7}', 400),
        ("text/html", b"rules: []", 415),
    ],
)
async def test_a_faulty_document_is_refused(control: ControlPlane, kind: str, body: bytes, status: int) -> None:
    """As the caller's fault, and nothing changes."""
    answer = await control.call("POST", "/api/v1/rules/import", body, headers={"Content-Type": kind})
    assert status == answer.status, answer.body
    assert 0 == (await control.call("GET", TEMPLATES)).document["revision"]


async def test_too_large_a_document_is_refused(valkey_url: str) -> None:
    """Before it is read to its end."""
    async with control_plane(valkey_url, max_rules_bytes=1024) as control:
        for path, kind in (
            ("/api/v1/rules/import", "application/json"),
            (f"{OVERRIDES}/import?preview=true", "text/csv"),
        ):
            answer = await control.call("POST", path, b" " * 5000, headers={"Content-Type": kind})
            assert (413, "body_too_large") == _problem(answer)


async def test_an_earlier_revision_comes_back(control: ControlPlane) -> None:
    """Looked at first, then restored as a new one."""
    row = await _made(control, TEMPLATES, TEMPLATE)
    await _put(control, row, limit_usd=99)
    await control.call("PUT", "/api/v1/settings", {"mode": "stop"}, headers=_match(0))
    accept = {"Accept": "application/json"}
    earlier = await control.call("GET", "/api/v1/rules/revisions/1", headers=accept)
    assert ("5.00", "enforce") == (
        earlier.document["rules"][0]["limit_usd"],
        earlier.document["workspace"]["mode"],
    )
    assert 400 == (await control.call("GET", "/api/v1/rules/revisions/9", headers=accept)).status
    assert 400 == (await control.call("GET", "/api/v1/rules/revisions/x", headers=accept)).status
    done = await control.call("POST", "/api/v1/rules/restore", {"revision": 1, "change_note": "a slip"})
    assert (4, 1) == (done.document["revision"], done.document["counts"]["changed"])
    (now,) = (await control.call("GET", TEMPLATES)).document["items"]
    assert (row["id"], 5.0) == (now["id"], now["limit_usd"])
    assert "enforce" == (await control.call("GET", "/api/v1/settings")).document["mode"]


async def test_two_control_planes_show_the_same(valkey_url: str, control: ControlPlane) -> None:
    """What one commits the other follows, and refuses what was made for the state before."""
    async with control_plane(valkey_url, workspace=control.workspace) as other:
        row = await _made(control, TEMPLATES, TEMPLATE)
        assert 200 == (await _put(other, row, limit_usd=8)).status
        assert 412 == (await _put(control, row, limit_usd=9)).status
