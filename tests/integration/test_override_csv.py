"""Overrides as CSV over HTTP: previewed, put in force, exported, edited and imported again; every fault by its line."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.control_plane import Answer, ControlPlane, control_plane

OVERRIDES = "/api/v1/overrides"
SHEET = """\
user_id,limit_usd,window,action,alert_thresholds_pct,status,expires_at,note,timezone
user-1,10.50,day,block,50;80,active,2030-01-01T00:00:00Z,"a raise, for a launch",Asia/Tokyo
user-2,unlimited,,,,,,,
"""


@pytest_asyncio.fixture(loop_scope="function")
async def control(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane without rules."""
    async with control_plane(valkey_url) as running:
        yield running


async def _send(control: ControlPlane, sheet: str | bytes, *, revision: int | None = None, **query: str) -> Answer:
    body = sheet.encode() if isinstance(sheet, str) else sheet
    headers = {"Content-Type": "text/csv"} | ({} if revision is None else {"If-Match": f'"{revision}"'})
    return await control.call("POST", f"{OVERRIDES}/import", body, headers=headers, params=query)


async def _rows(control: ControlPlane) -> dict[str, Any]:
    answer = await control.call("GET", OVERRIDES, params={"limit": "200"})
    return {row["key"]: row for row in answer.document["items"]}


async def _export(control: ControlPlane, kind: str = "overrides", **query: str) -> list[dict[str, str]]:
    answer = await control.call("GET", f"/api/v1/{kind}.csv", params=query)
    assert (200, f'attachment; filename="{kind}.csv"') == (answer.status, answer.headers["Content-Disposition"])
    return list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))


async def test_a_preview_changes_nothing_and_the_import_does(control: ControlPlane) -> None:
    """The import needs the revision that the preview told."""
    preview = (await _send(control, SHEET, preview="true")).document
    assert (2, 0, 0, [], 0) == tuple(preview[name] for name in ("added", "changed", "unchanged", "faults", "revision"))
    assert ["user-1", "user-2"] == [row["after"]["key"] for row in preview["rows"]]
    assert {} == await _rows(control)
    assert 428 == (await _send(control, SHEET)).status
    done = await _send(control, SHEET, revision=0, change_note="from finance")
    assert (200, {"added": 2, "changed": 0, "removed": 0, "unchanged": 0}) == (done.status, done.document["counts"])
    rows = await _rows(control)
    expected = {
        "limit_usd": 10.5,
        "window": "day",
        "action": "block",
        "alert_thresholds_pct": [50, 80],
        "expires_at": "2030-01-01T00:00:00Z",
        "note": "a raise, for a launch",
        "timezone": "Asia/Tokyo",
    }
    assert expected == {name: rows["user-1"][name] for name in expected}
    assert (None, "month", "warn") == tuple(rows["user-2"][name] for name in ("limit_usd", "window", "action"))
    assert 412 == (await _send(control, SHEET, revision=0)).status


async def test_empty_cells_keep_what_there_is(control: ControlPlane) -> None:
    """A sheet of two columns changes limits and nothing else; others of the user stay; nobody is removed."""
    await _send(control, SHEET, revision=0)
    sheet = "user_id,limit_usd,window\nuser-1,11,day\nuser-1,99,month\n"
    preview = (await _send(control, sheet, preview="true")).document
    assert (1, 1, 0) == tuple(preview[name] for name in ("added", "changed", "unchanged"))
    before, after = preview["rows"][0]["before"], preview["rows"][0]["after"]
    assert ("10.50", "11.00", "block") == (before["limit_usd"], after["limit_usd"], after["action"])
    await _send(control, sheet, revision=1)
    export = await _export(control)
    assert [("user-1", "day", "11.0"), ("user-1", "month", "99.0"), ("user-2", "month", "unlimited")] == [
        (row["user_id"], row["window"], row["limit_usd"]) for row in export
    ]


async def test_an_export_is_imported_as_nothing_new(control: ControlPlane) -> None:
    """Also of names that a spreadsheet would run, and with the columns that only tell."""
    names = ["=HYPERLINK(1)", "+1", "-1", "@x", "'quoted", '"', "a,b", "{rules}", "<script>", "\u05d0", "x" * 256]
    body = io.StringIO()
    csv.writer(body).writerows([("user_id", "limit_usd", "note"), *((name, "1.5", f"={name}") for name in names)])
    done = await _send(control, body.getvalue(), revision=0)
    assert len(names) == done.document["counts"]["added"], done.body
    answer = await control.call("GET", f"{OVERRIDES}.csv")
    cells = [cell for row in csv.reader(io.StringIO(answer.body.decode(), newline="")) for cell in row]
    assert [] == [cell for cell in cells if cell[:1] in {"=", "+", "-", "@"}]
    again = (await _send(control, answer.body, preview="true")).document
    assert (0, 0, len(names), []) == tuple(again[name] for name in ("added", "changed", "unchanged", "faults"))
    assert set(names) == set(await _rows(control))


async def test_exports_are_filtered_and_sorted_as_lists_are(control: ControlPlane) -> None:
    """Over more rules than a page has; templates have their own column."""
    lines = "".join(f"user-{number:03d},{500 - number}\n" for number in range(450))
    await _send(control, f"user_id,limit_usd\n{lines}", revision=0)
    assert 450 == len(await _export(control))
    assert ["user-102", "user-101", "user-100"] == [
        row["user_id"] for row in await _export(control, q="user-10", sort="limit") if row["user_id"] < "user-103"
    ]
    await control.call("POST", "/api/v1/templates", {"key": "free", "limit_usd": 5})
    assert ["free"] == [row["tier"] for row in await _export(control, "templates")]


@pytest.mark.parametrize(
    ("sheet", "faults"),
    [
        ("user_id,limit_usd\na,-1\nb,1\nc,x\n", [(2, "limit_usd"), (4, "limit_usd")]),
        ("user_id,limit_usd\n,1\na,\n", [(2, "user_id"), (3, "limit_usd")]),
        ("user_id,limit_usd\n*,1\n", [(2, "user_id")]),
        ("user_id,limit_usd\na,1\na,2\n", [(3, "")]),
        ("user_id,limit_usd\na,1,2\n", [(2, "")]),
        ("user_id,limit\na,1\n", [(1, "limit"), (1, "limit_usd")]),
        ("user_id,limit_usd,user_id\na,1,b\n", [(1, "user_id"), (1, "user_id")]),
        ("", [(1, "limit_usd"), (1, "user_id")]),
        ('user_id,limit_usd,note\na,1,"two\nlines"\nb,1,"\n', [(4, "")]),
        ('user_id,limit_usd,note\na,x,"two\nlines"\nb,x,\n', [(2, "limit_usd"), (4, "limit_usd")]),
        ("user_id,limit_usd,alert_thresholds_pct,window\na,1,80;x,day\nb,1,101,year\n", [(2, "alert_thresholds_pct")]),
        (b"user_id,limit_usd\n\xff,1\n", [(0, "")]),
    ],
)
async def test_faults_are_told_by_line(
    control: ControlPlane, sheet: str | bytes, faults: list[tuple[int, str]]
) -> None:
    """In the preview all of them, and the import is refused with the same."""
    preview = (await _send(control, sheet, preview="true")).document
    told = {(fault["line"], fault["field"]) for fault in preview["faults"]}
    assert set(faults) <= told, preview["faults"]
    refused = await _send(control, sheet, revision=0)
    assert (400, "invalid_rules") == (refused.status, refused.code)
    assert {} == await _rows(control)


async def test_a_fault_names_the_other_line(control: ControlPlane) -> None:
    """Not an index into something that the reader never saw."""
    preview = (await _send(control, "user_id,limit_usd\n\na,1\nb,1\na,2\n", preview="true")).document
    assert [{"line": 5, "field": "", "message": "has the user_id and window of line 3; one rule for each"}] == (
        preview["faults"]
    )


async def test_a_sheet_of_a_spreadsheet_is_read(control: ControlPlane) -> None:
    """With a byte order mark, line ends of Windows, other cases of the header, and percent signs."""
    sheet = "\ufeffUser_ID,Limit_USD,Alert_Thresholds_Pct\r\na,1,50% 80%\r\n".encode()
    await _send(control, sheet, revision=0)
    assert [50, 80] == (await _rows(control))["a"]["alert_thresholds_pct"]
