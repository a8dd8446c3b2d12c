"""Settings of the control plane: when tokens are needed, what is refused, what the log may show, what is documented."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from controlplane.settings import SETTINGS, Settings, SettingsError

URL = {"SPENDGATE_REDIS_URL": "redis://127.0.0.1:6379/0"}
TOKEN = "a-token-that-is-long-enough"
DOCUMENT = Path(__file__).parents[2] / "docs" / "control-plane.md"


def _faults(**variables: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.read(URL | {f"SPENDGATE_{name}": value for name, value in variables.items()}, {})
    return [fault.partition(":")[0] for fault in caught.value.faults]


def test_loopback_needs_no_token() -> None:
    """Whoever reaches it sits at this machine."""
    assert Settings.read(URL, {}).is_open


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "budgets.example.com"])
def test_any_other_address_needs_a_token_that_may_write(host: str) -> None:
    """Without one the start is refused, also with a token that only reads."""
    assert ["SPENDGATE_WRITE_TOKEN"] == _faults(CONTROL_HOST=host)
    assert "SPENDGATE_WRITE_TOKEN" in _faults(CONTROL_HOST=host, READ_TOKEN=TOKEN)
    settings = Settings.read({**URL, "SPENDGATE_CONTROL_HOST": host, "SPENDGATE_WRITE_TOKEN": TOKEN}, {})
    assert not settings.is_open


def test_tokens_must_differ() -> None:
    """One secret with two scopes would be the wider one by accident."""
    assert ["SPENDGATE_READ_TOKEN, SPENDGATE_WRITE_TOKEN, SPENDGATE_PUSH_TOKEN, SPENDGATE_EVENTS_TOKEN"] == _faults(
        READ_TOKEN=TOKEN, WRITE_TOKEN=TOKEN
    )


def test_a_token_may_come_from_a_file(tmp_path: Path) -> None:
    """As orchestrators mount secrets; not beside the value."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert TOKEN == Settings.read({**URL, "SPENDGATE_WRITE_TOKEN_FILE": str(path)}, {}).write_token
    assert ["SPENDGATE_WRITE_TOKEN"] == _faults(WRITE_TOKEN=TOKEN, WRITE_TOKEN_FILE=str(path))


@pytest.mark.parametrize("url", ["budgets.example.com", "ftp://budgets.example.com", "javascript:alert(1)"])
def test_a_public_url_is_one_of_the_web(url: str) -> None:
    """Origins are made of it."""
    assert ["SPENDGATE_PUBLIC_URL"] == _faults(PUBLIC_URL=url)


def test_the_log_shows_no_secret() -> None:
    """Neither tokens nor the store's password."""
    settings = Settings.read({"SPENDGATE_REDIS_URL": "redis://:hush@store/0", "SPENDGATE_WRITE_TOKEN": TOKEN}, {})
    shown = str(settings.describe())
    assert [False, False, True] == [word in shown for word in (TOKEN, "hush", "***")]


def test_every_setting_is_documented_with_its_default() -> None:
    """And the document has no other ones."""
    rows = re.findall(r"^\| `(SPENDGATE_\w+)` \| `(--[\w-]+)` \| (\S+) \|", DOCUMENT.read_text(), re.MULTILINE)
    expected = [
        (setting.env, setting.flag, "none" if setting.default is None else f"`{setting.default}`")
        for setting in SETTINGS
    ]
    assert expected == rows


def test_fields_are_the_settings() -> None:
    """All but the files of secrets, which are read into the secrets."""
    names = [setting.name for setting in SETTINGS if not setting.name.endswith("_file")]
    assert names == [field.name for field in fields(Settings)]
