"""`spendgate user` as an operator types it."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from cli.main import main

USER = "person-1"


@pytest.fixture
def store(valkey_url: str) -> Iterator[tuple[str, list[str]]]:
    """A workspace in which a user has one event; yields its name and the flags that name it."""
    workspace = f"cli-{uuid4().hex[:12]}"
    with redis.Redis.from_url(valkey_url) as client:
        client.hset(f"sg:{workspace}:meta", "partitions", 1)
        client.xadd(f"sg:{workspace}:{{0}}:events", {"type": "blocked", "user": USER, "amount": "5", "at": "1000"})
        yield workspace, ["--redis-url", valkey_url, "--workspace", workspace]


def test_an_export_is_a_file_of_its_own(
    store: tuple[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only its owner may read it, and none is written over."""
    workspace, flags = store
    path = tmp_path / "user.json"
    assert main(["user", "export", USER, *flags, "--output", str(path)]) == 0
    document = json.loads(path.read_text())
    assert (USER, workspace, []) == (document["user_id"], document["workspace"], document["rules"])
    assert [event["amount_usd"] for event in document["events"]] == ["0.000000005"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert main(["user", "export", USER, *flags, "--output", str(path)]) == 1
    assert "File exists" in capsys.readouterr().err


def test_an_erasure_says_what_it_did(store: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """And the export that follows is empty."""
    _, flags = store
    assert main(["user", "erase", USER, *flags, "--note", "asked for it", "--yes"]) == 0
    assert "1 events are deleted" in capsys.readouterr().out
    assert main(["user", "export", USER, *flags]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--note", "asked for it"], 2, "--yes"),
        (["--note", f"{USER} asked", "--yes"], 2, "names the user"),
        (["--note", " ", "--yes"], 2, "--note"),
    ],
)
def test_what_is_not_meant_is_not_done(
    store: tuple[str, list[str]], capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    """Without a terminal nobody can be asked; the note stays for ever and names nobody."""
    _, flags = store
    assert main(["user", "erase", USER, *flags, *words]) == code
    assert message in capsys.readouterr().err
    assert main(["user", "export", USER, *flags]) == 0
    assert len(json.loads(capsys.readouterr().out)["events"]) == 1


def test_a_mistyped_workspace_is_told(valkey_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty export would look like an answer."""
    assert main(["user", "export", USER, "--redis-url", valkey_url, "--workspace", "missing"]) == 1
    assert "no workspace missing" in capsys.readouterr().err
