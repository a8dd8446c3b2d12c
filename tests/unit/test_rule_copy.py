"""The rules on disk: whole after any crash, and read back as they were."""

import json
import stat
from pathlib import Path

import pytest

from ledger.rule_changes import NOWHERE, RulePosition
from ledger.rule_parsing import parse_rule_set
from sidecar import rule_copy, whole_files
from sidecar.rule_cache import RuleCache
from sidecar.rule_copy import read_copy, write_copy
from tests.support.rule_sets import large_document, rule_set_of

AT_41 = RulePosition("epoch", 41, "tip")


async def test_rule_set_in_force_is_kept_on_disk(tmp_path: Path) -> None:
    """The next start has the same rules under the same revision."""
    await RuleCache(tmp_path / "data").swap(rule_set_of(3, "free", "*"))

    assert rule_set_of(3, "free", "*") == (await RuleCache.load(tmp_path / "data")).current


async def test_start_without_a_copy_has_no_rules(tmp_path: Path) -> None:
    """A first start is no fault."""
    assert not (await RuleCache.load(tmp_path)).is_loaded


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"rules": []}', b'{"revision": 1, "rules": [{}]}', b'{"revision": 1, "rules"'],
)
async def test_corrupt_copy_is_logged_and_ignored(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy that cannot be used is as good as none, and someone is told."""
    (tmp_path / rule_copy.COPY_NAME).write_bytes(content)

    cache = await RuleCache.load(tmp_path)

    assert not cache.is_loaded
    assert ["ERROR"] == [record.levelname for record in caplog.records]


def test_copy_is_for_its_owner_only(tmp_path: Path) -> None:
    """User ids are nobody else's business."""
    write_copy(tmp_path, rule_set_of(1, "free"))

    assert 0o600 == stat.S_IMODE((tmp_path / rule_copy.COPY_NAME).stat().st_mode)
    assert [rule_copy.COPY_NAME] == [path.name for path in tmp_path.iterdir()]


def test_copy_of_a_write_that_broke_off_is_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is replaced only when the new one is whole and on disk."""
    write_copy(tmp_path, rule_set_of(1, "free"))

    def fail(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(whole_files.os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_copy(tmp_path, rule_set_of(2, "pro"))

    assert (rule_set_of(1, "free"), NOWHERE) == read_copy(tmp_path)


def test_large_copy_reads_back(tmp_path: Path) -> None:
    """A copy that is written in several pieces is one document."""
    rule_set = parse_rule_set(large_document(rule_copy.RULES_A_WRITE * 2 + 1), revision=1)

    write_copy(tmp_path, rule_set)

    assert (rule_set, NOWHERE) == read_copy(tmp_path)


async def test_followed_rules_are_kept_with_their_position(tmp_path: Path) -> None:
    """After a restart a sidecar knows where it stood, so that it needs only what it missed."""
    cache = RuleCache(tmp_path)
    await cache.follow(rule_set_of(41, "free"), AT_41, shares_rules=True)
    await cache.keep_last()

    kept = await RuleCache.load(tmp_path)
    assert (rule_set_of(41, "free"), AT_41) == (kept.current, kept.position)


async def test_a_kept_copy_is_json(tmp_path: Path) -> None:
    """Whoever looks at it with other tools can read it."""
    write_copy(tmp_path, rule_set_of(41, "free"), AT_41)

    document = json.loads((tmp_path / "rules.json").read_text())
    assert ({"epoch": "epoch", "tip": "tip"}, 41) == (document["store"], document["revision"])


@pytest.mark.parametrize("line", ['{"store":{},', '{"store":[1],', '{"store":{"epoch":1', '{"store":'])
def test_a_copy_whose_position_is_broken_is_ignored(tmp_path: Path, line: str) -> None:
    """Rules of an unknown position would be taken for another's."""
    write_copy(tmp_path, rule_set_of(41, "free"), AT_41)
    path = tmp_path / "rules.json"
    path.write_text(line + "\n" + path.read_text().partition("\n")[2])

    assert read_copy(tmp_path) is None
