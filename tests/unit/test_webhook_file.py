"""The file that names webhooks: everything it can say, and every fault with its path."""

from pathlib import Path
from typing import Any

import pytest

from controlplane.webhook_file import DEFAULT_KINDS, Format, Kind, Webhook, parse_webhooks, read_webhooks
from ledger.errors import InvalidInput, RuleSetInvalid

URL = "https://hooks.example.com/spendgate"


def _faults(tmp_path: Path, *entries: object) -> list[str]:
    with pytest.raises(RuleSetInvalid) as refused:
        parse_webhooks({"webhooks": list(entries)}, directory=tmp_path)
    return [path for path, _ in refused.value.faults]


def test_a_name_and_an_address_are_enough(tmp_path: Path) -> None:
    """JSON, unsigned, told of thresholds, blocks and sidecars without the store."""
    assert parse_webhooks({"webhooks": [{"name": "finance", "url": URL}]}, directory=tmp_path) == (
        Webhook(name="finance", url=URL, format=Format.JSON, secret=None, kinds=DEFAULT_KINDS, tiers=None),
    )


def test_everything_can_be_said(tmp_path: Path) -> None:
    """A secret file is looked for beside the file."""
    (tmp_path / "secret").write_text("sixteen bytes or more\n")
    path = tmp_path / "webhooks.yaml"
    path.write_text(
        f"webhooks: [{{name: ops, url: '{URL}', format: slack, secret_file: secret, events: [blocked], tiers: [pro]}}]"
    )
    expected = Webhook(
        name="ops",
        url=URL,
        format=Format.SLACK,
        secret=b"sixteen bytes or more",
        kinds=frozenset({Kind.BLOCKED}),
        tiers=frozenset({"pro"}),
    )
    assert read_webhooks(path) == (expected,)


def test_a_secret_in_base64_is_decoded(tmp_path: Path) -> None:
    """As the Standard Webhooks specification writes secrets."""
    (tmp_path / "secret").write_text("whsec_MDEyMzQ1Njc4OWFiY2RlZg==")
    entry = {"name": "ops", "url": URL, "secret_file": "secret"}
    (webhook,) = parse_webhooks({"webhooks": [entry]}, directory=tmp_path)
    assert webhook.secret == b"0123456789abcdef"


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    """Neither is what stands in the path of the address, on the page."""
    (tmp_path / "secret").write_text("sixteen bytes or more")
    entry = {"name": "ops", "url": f"{URL}/hidden", "secret_file": "secret"}
    (webhook,) = parse_webhooks({"webhooks": [entry]}, directory=tmp_path)
    assert "sixteen" not in repr(webhook)
    assert webhook.host == "hooks.example.com"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Finance"}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"url": None}, "url"),
        ({"url": "hooks.example.com"}, "url"),
        ({"url": "ftp://hooks.example.com"}, "url"),
        ({"url": "http://hooks.example.com"}, "url"),
        ({"url": "https://[::1"}, "url"),
        ({"url": "https://hooks.example.com:99999"}, "url"),
        ({"url": f"{URL}\n"}, "url"),
        ({"url": URL + "x" * 2048}, "url"),
        ({"format": "xml"}, "format"),
        ({"secret_file": "missing"}, "secret_file"),
        ({"secret_file": "short"}, "secret_file"),
        ({"secret_file": "broken"}, "secret_file"),
        ({"secret_file": 7}, "secret_file"),
        ({"events": []}, "events"),
        ({"events": "blocked"}, "events"),
        ({"events": ["paid"]}, "events"),
        ({"events": ["test"]}, "events"),
        ({"tiers": []}, "tiers"),
        ({"tiers": ["*"]}, "tiers[0]"),
        ({"color": "red"}, "color"),
    ],
)
def test_a_fault_has_its_path(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    """Whatever is wrong, beside a webhook that is right."""
    (tmp_path / "short").write_text("short")
    (tmp_path / "broken").write_text("whsec_!!!")
    good = {"name": "good", "url": URL}
    assert _faults(tmp_path, good, {"name": "bad", "url": URL} | changes) == [f"webhooks[1].{field}"]


def test_names_are_used_once(tmp_path: Path) -> None:
    """The name says which events were told already."""
    entry = {"name": "ops", "url": URL}
    assert _faults(tmp_path, entry, entry) == ["webhooks[1].name"]


def test_loopback_needs_no_tls(tmp_path: Path) -> None:
    """A receiver beside the control plane."""
    entry = {"name": "ops", "url": "http://127.0.0.1:9000/"}
    assert len(parse_webhooks({"webhooks": [entry]}, directory=tmp_path)) == 1


@pytest.mark.parametrize("text", ["webhooks: 7", "- a", "webhooks: [", "other: []"])
def test_a_file_that_is_none_says_so(tmp_path: Path, text: str) -> None:
    """With its name."""
    path = tmp_path / "webhooks.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"webhooks\.yaml"):
        read_webhooks(path)
    with pytest.raises(InvalidInput, match="missing"):
        read_webhooks(tmp_path / "missing")
