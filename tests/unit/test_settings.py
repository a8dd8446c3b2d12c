"""Settings: defaults, flags over variables, all faults at once, secrets kept out of the log."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from sidecar.settings import SETTINGS, Settings, SettingsError, is_loopback, redact_url

URL = {"SPENDGATE_REDIS_URL": "redis://127.0.0.1:6379/0"}
TOKEN = "a-token-that-is-long-enough"
DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def _faults(environment: dict[str, str], flags: dict[str, str | None] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.read(environment, flags or {})
    return caught.value.faults


def test_only_the_store_must_be_named() -> None:
    """Everything else has a default."""
    settings = Settings.read(URL, {})
    assert ("default", "127.0.0.1", 8787, 9797, 250) == (
        settings.workspace,
        settings.host,
        settings.port,
        settings.admin_port,
        settings.deadline_ms,
    )


def test_a_variable_replaces_a_default() -> None:
    """Read as the type it has."""
    assert 100 == Settings.read({**URL, "SPENDGATE_DEADLINE_MS": "100"}, {}).deadline_ms


def test_a_flag_wins_over_a_variable() -> None:
    """What is typed now is meant more than what was exported once."""
    assert 60 == Settings.read({**URL, "SPENDGATE_DEADLINE_MS": "100"}, {"deadline_ms": "60"}).deadline_ms


def test_a_flag_that_was_not_given_says_nothing() -> None:
    """None is no value."""
    assert 100 == Settings.read({**URL, "SPENDGATE_DEADLINE_MS": "100"}, {"deadline_ms": None}).deadline_ms


def test_auto_is_a_free_port() -> None:
    """Zero, as a socket understands it."""
    assert 0 == Settings.read({**URL, "SPENDGATE_PORT": "auto"}, {}).port


def test_a_service_link_of_kubernetes_is_no_port() -> None:
    """A Service named spendgate must not keep every sidecar of its namespace from starting."""
    assert 8787 == Settings.read({**URL, "SPENDGATE_PORT": "tcp://10.96.0.12:80"}, {}).port


def test_all_faults_are_reported_together() -> None:
    """Nobody likes to restart for each of them."""
    faults = _faults({**URL, "SPENDGATE_PORT": "http", "SPENDGATE_WORKSPACE": "Prod!", "SPENDGATE_LOG_FORMAT": "xml"})
    assert ["SPENDGATE_WORKSPACE", "SPENDGATE_PORT", "SPENDGATE_LOG_FORMAT"] == [
        fault.partition(":")[0] for fault in faults
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_URL", "http://127.0.0.1"),
        ("WORKSPACE", ""),
        ("WORKSPACE", "a" * 65),
        ("PARTITIONS", "0"),
        ("HOST", ""),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("DEADLINE_MS", "0"),
        ("DEADLINE_MS", "250ms"),
        ("DEADLINE_MS", "\u0661\u0660\u0660"),
        ("MAX_BATCH", "257"),
        ("MAX_BODY_BYTES", "1"),
        ("PUSH_TOKEN", "short"),
        ("PUSH_TOKEN", "with a space in it, and long enough"),
        ("PUSH_TOKEN_FILE", "/nowhere/at/all"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_out_of_bounds_is_a_fault_of_its_variable(variable: str, value: str) -> None:
    """Each bound is checked at the start, not when it first hurts."""
    (fault,) = _faults({**URL, f"SPENDGATE_{variable}": value})
    assert fault.startswith(f"SPENDGATE_{variable}: ")


def test_without_a_store_nothing_starts() -> None:
    """The fault says what else there is."""
    (fault,) = _faults({})
    assert "spendgate up" in fault


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "sidecar.example"])
def test_beyond_loopback_decisions_need_a_token(host: str) -> None:
    """Whoever reaches the listener may spend."""
    (fault,) = _faults({**URL, "SPENDGATE_HOST": host})
    assert fault.startswith("SPENDGATE_DECISION_TOKEN: ")


def test_with_a_token_any_host_may_serve() -> None:
    """The token is what the fault asked for."""
    settings = Settings.read({**URL, "SPENDGATE_HOST": "0.0.0.0", "SPENDGATE_DECISION_TOKEN": TOKEN}, {})
    assert ("0.0.0.0", TOKEN) == (settings.host, settings.decision_token)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    """The whole of 127.0.0.0/8 and ::1; the wildcard addresses are not."""
    assert expected is is_loopback(host)


def test_a_token_may_stand_in_a_file(tmp_path: Path) -> None:
    """The newline at its end, which editors and mounts add, is no part of it."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert TOKEN == Settings.read({**URL, "SPENDGATE_PUSH_TOKEN_FILE": str(path)}, {}).push_token


def test_a_token_is_set_once(tmp_path: Path) -> None:
    """In the environment or in a file, because the two could differ."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    (fault,) = _faults({**URL, "SPENDGATE_PUSH_TOKEN": TOKEN, "SPENDGATE_PUSH_TOKEN_FILE": str(path)})
    assert "not both" in fault


def test_no_secret_is_described() -> None:
    """Tokens and the store's password do not reach the log."""
    environment = {
        "SPENDGATE_REDIS_URL": "rediss://app:store-password@store.example:6379/0",
        "SPENDGATE_PUSH_TOKEN": TOKEN,
        "SPENDGATE_DECISION_TOKEN": TOKEN,
    }
    described = str(Settings.read(environment, {}).describe())
    assert "store.example" in described
    assert not re.search(f"store-password|{TOKEN}", described)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:hidden@host:1/2", "redis://:***@host:1/2"),
        ("redis://app:hid@den@host", "redis://app:***@host"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("redis://host/0?password=hidden&db=1", "redis://host/0?password=***&db=1"),
        ("unix:///run/redis.sock?db=1&password=hidden", "unix:///run/redis.sock?db=1&password=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, expected: str) -> None:
    """Everything else of it helps to find a mistake."""
    assert expected == redact_url(url)


def test_every_setting_has_its_field() -> None:
    """The table and the dataclass name the same, files of secrets aside."""
    names = {setting.name for setting in SETTINGS if not setting.name.endswith("_file")}
    assert names == {field.name for field in fields(Settings)}


def test_every_setting_is_documented_as_it_is() -> None:
    """Variable, flag, default and unit of the document are those of the table, in its order."""
    rows = re.findall(r"^\| `(\w+)` \| `([\w-]+)` \| ([^|]+) \| ([^|]+) \|", DOCUMENT.read_text(), re.MULTILINE)
    expected = [
        (entry.env, entry.flag, "none" if entry.default is None else f"`{entry.default}`", entry.unit)
        for entry in SETTINGS
    ]
    assert expected == [(env, flag, default.strip(), unit.strip()) for env, flag, default, unit in rows]


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ("store", {}),
        ("file", {"SPENDGATE_RULES": "budgets.yaml"}),
        ("push", {"SPENDGATE_PUSH_TOKEN": TOKEN}),
        ("file", {"SPENDGATE_RULES": "budgets.yaml", "SPENDGATE_PUSH_TOKEN": TOKEN}),
        ("store", {"SPENDGATE_RULES_SOURCE": "store", "SPENDGATE_PUSH_TOKEN": TOKEN}),
    ],
)
def test_rules_come_from_where_the_settings_point(source: str, variables: dict[str, str]) -> None:
    """A rule file or a push token says enough; without both the rules are the store's."""
    assert source == Settings.read({**URL, **variables}, {}).rules_source


@pytest.mark.parametrize(
    ("fault", "variables"),
    [
        ("SPENDGATE_RULES: is needed", {"SPENDGATE_RULES_SOURCE": "file"}),
        ("SPENDGATE_PUSH_TOKEN: is needed", {"SPENDGATE_RULES_SOURCE": "push"}),
        ("SPENDGATE_RULES: is set, but", {"SPENDGATE_RULES_SOURCE": "store", "SPENDGATE_RULES": "x"}),
        ("SPENDGATE_RULES_SOURCE: must be one of", {"SPENDGATE_RULES_SOURCE": "git"}),
    ],
)
def test_a_source_without_its_means_is_a_fault(fault: str, variables: dict[str, str]) -> None:
    """Two sources, or none, would be found out at the first change only."""
    assert any(text.startswith(fault) for text in _faults({**URL, **variables}))


def test_the_stores_url_may_stand_in_a_file(tmp_path: Path) -> None:
    """Its password then stays out of the environment, which more people may see than a mounted secret."""
    path = tmp_path / "url"
    path.write_text("rediss://app:store-password@store.example:6379/0\n")
    settings = Settings.read({"SPENDGATE_REDIS_URL_FILE": str(path)}, {})
    assert "rediss://app:store-password@store.example:6379/0" == settings.redis_url
    assert "rediss://app:***@store.example:6379/0" == settings.describe()["redis_url"]


@pytest.mark.parametrize("text", ["http://store.example", ""])
def test_a_file_that_holds_no_url_of_a_store_is_a_fault(text: str, tmp_path: Path) -> None:
    """It is named, and the start is refused."""
    path = tmp_path / "url"
    path.write_text(text)
    assert "SPENDGATE_REDIS_URL_FILE" in {
        fault.partition(":")[0] for fault in _faults({"SPENDGATE_REDIS_URL_FILE": str(path)})
    }
