"""What `up` and `sidecar` start, with which settings, and what they refuse to."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import sidecar
from cli.main import main
from ledger.errors import RuleSetInvalid
from sidecar.settings import SETTINGS, Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the tester's own settings out, and the process's signal handlers as they were."""
    for name in [*os.environ]:
        if name.startswith(("SPENDGATE_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Replace the sidecar by a list of the settings that it was run with."""
    runs: list[Settings] = []
    monkeypatch.setattr(sidecar, "run_sidecar", runs.append)
    return runs


def _usage_error(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    return exit_info.value.code


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.unit != "secret"], ids=lambda setting: setting.name)
def test_every_setting_is_a_flag(setting: object, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of both servers names each setting that is no secret, with its flag and its variable."""
    for command in ("up", "sidecar"):
        _usage_error(command, "--help")
        shown = capsys.readouterr().out
        assert (True, True) == (f"{setting.flag} " in shown, setting.env in shown)  # type: ignore[attr-defined]


def test_flags_reach_the_sidecar(served: list[Settings]) -> None:
    """A flag of `sidecar` becomes a setting."""
    code = main(["sidecar", "--redis-url", "redis://127.0.0.1:1", "--port", "8888"])

    assert (0, 8888) == (code, served[0].port)


def test_the_environment_reaches_the_sidecar(served: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment becomes a setting."""
    monkeypatch.setenv("SPENDGATE_PORT", "8888")
    main(["sidecar", "--redis-url", "redis://127.0.0.1:1"])

    assert 8888 == served[0].port


def test_a_sidecar_needs_a_store(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a Redis URL `sidecar` is wrong usage, and says which variable is missing."""
    code = main(["sidecar"])

    assert (2, True, []) == (code, "SPENDGATE_REDIS_URL" in capsys.readouterr().err, served)


def test_all_faults_of_the_settings_are_told(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    """Two wrong settings are two lines below a heading."""
    code = main(["sidecar", "--port", "http", "--partitions", "0"])

    assert (2, 3) == (code, len(capsys.readouterr().err.splitlines()))


def test_up_with_a_store_starts_none(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    """`up` over a named store starts no other, and shows its URL without the password."""
    main(["up", "--no-page", "--redis-url", "redis://:geheim@127.0.0.1:1"])

    assert "Store: redis://:***@127.0.0.1:1 (no embedded one is started)\n" == capsys.readouterr().out


def test_up_serves_over_an_embedded_store(served: list[Settings], tmp_path: Path) -> None:
    """`up` without a store runs the sidecar over a Unix socket below its data directory, and ends the store with it."""
    code = main(["up", "--no-page", "--data-dir", str(tmp_path)])

    path = tmp_path / "store" / "valkey.sock"
    assert (0, f"unix://{path}", False) == (code, served[0].redis_url, path.exists())


def test_up_with_wrong_settings_starts_no_store(served: list[Settings], tmp_path: Path) -> None:
    """Settings are checked before the embedded store is started."""
    code = main(["up", "--data-dir", str(tmp_path), "--port", "http"])

    assert (2, []) == (code, list(tmp_path.iterdir()))


def test_up_with_wrong_settings_of_the_page_starts_no_store(
    served: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor where the page could not be served: beyond loopback it needs a token."""
    code = main(["up", "--data-dir", str(tmp_path), "--control-host", "0.0.0.0"])

    assert (2, [], True) == (code, list(tmp_path.iterdir()), "SPENDGATE_WRITE_TOKEN" in capsys.readouterr().err)


def test_a_seed_and_a_rule_file_exclude_each_other(served: list[Settings], tmp_path: Path) -> None:
    """The sidecar follows one of them."""
    code = main(["up", "--data-dir", str(tmp_path), "--rules", "a.yaml", "--seed", "b.yaml"])

    assert (2, [], []) == (code, list(tmp_path.iterdir()), served)


def test_up_in_kubernetes_is_refused(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pod `up` fails without an explicit word, and starts nothing."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    code = main(["up"])

    assert (1, True, []) == (code, "--embedded" in capsys.readouterr().err, served)


def test_refused_rules_stop_the_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A sidecar that refuses its rule file fails with every fault."""

    def refuse(_: Settings) -> None:
        raise RuleSetInvalid([("rules[0].key", "is required"), ("rules[1].kind", "is unknown")])

    monkeypatch.setattr(sidecar, "run_sidecar", refuse)
    code = main(["sidecar", "--redis-url", "redis://127.0.0.1:1", "--rules", "b.yaml"])

    expected = "spendgate: the rules of b.yaml are refused:\n  rules[0].key: is required\n  rules[1].kind: is unknown\n"
    assert (1, expected) == (code, capsys.readouterr().err)
