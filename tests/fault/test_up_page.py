"""`spendgate up` with its page: seeded once, edited in the browser's way, and going on without the control plane."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.demo_processes import running_demo
from tests.support.patience import sidecar_environment

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
POLL_S = 0.01
PATIENT = sidecar_environment({})
SEED = "rules:\n  - {kind: tier_template, key: free, limit_usd: 1, window: month, action: block}\n"
CHECK = {"user_id": "ada", "tier": "free", "cost_usd": "0.75"}


def _call(method: str, url: str, body: object = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    kind = {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, {**kind, **headers}, method=method)
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
        return json.load(response)


def _until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(POLL_S)


def _seed(directory: Path) -> Path:
    path = directory / "seed.yaml"
    path.write_text(SEED)
    return path


def _set_limit(page_url: str, limit_usd: int) -> None:
    (row,) = _call("GET", f"{page_url}/api/v1/templates")["items"]
    body = {"key": row["key"], "limit_usd": limit_usd, "action": row["action"]}
    _call("PUT", f"{page_url}/api/v1/templates/{row['id']}", body, **{"If-Match": f'"{row["revision"]}"'})


def test_what_the_page_edits_is_in_force_at_once(tmp_path: Path) -> None:
    """A raise unblocks, without a restart; after a restart the seed changes nothing any more."""
    seed, data_dir = _seed(tmp_path), tmp_path / "data"
    data_dir.mkdir()
    with running_demo(data_dir, seed, 1, more=PATIENT) as demo:
        url = f"{demo.urls[0]}/v1/check"
        assert ["allow", "block"] == [_call("POST", url, CHECK)["decision"] for _ in range(2)]
        _set_limit(demo.page_url, 3)
        _until(lambda: _call("POST", url, CHECK)["decision"] != "block")
    with running_demo(data_dir, seed, 1, more=PATIENT) as demo:
        (row,) = _call("GET", f"{demo.page_url}/api/v1/templates")["items"]
        assert (3.0, 1.5) == (row["limit_usd"], row["spend_usd"])
        assert "allow" == _call("POST", f"{demo.urls[0]}/v1/check", CHECK)["decision"]


@dataclass(frozen=True, slots=True)
class _Up:
    """A running `up`, and where its sidecar and its page are."""

    process: "subprocess.Popen[bytes]"
    log: Path
    url: str
    page_url: str

    def page_pid(self) -> int:
        """Return the process of the control plane."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                words = (path.parent / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if parent == self.process.pid and b"controlplane" in words:
                return int(path.parent.name)
        raise AssertionError("there is no control plane")


@contextmanager
def _running_up(directory: Path, *words: str) -> Iterator[_Up]:
    log = directory / "log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPENDGATE_")}
    environment = {**inherited, **PATIENT}
    ports = [f"--{name}=auto" for name in ("port", "admin-port", "control-port", "control-admin-port")]
    command = [sys.executable, "-m", "cli.main", "up", "--embedded", *ports, f"--data-dir={directory / 'data'}", *words]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
    try:
        _until(lambda: "serving decisions on" in log.read_text() or process.poll() is not None)
        text = log.read_text()
        assert process.poll() is None, text
        url = text.partition("serving decisions on ")[2].partition(",")[0]
        page_url = text.partition("Page: ")[2].partition("\n")[0]
        yield _Up(process, log, url, page_url)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)


def _answers(url: str) -> bool:
    try:
        _call("GET", url)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def test_the_sidecar_goes_on_without_the_control_plane(tmp_path: Path) -> None:
    """Killed, it is missed with a message; decisions go on with the rules there were."""
    with _running_up(tmp_path, f"--seed={_seed(tmp_path)}") as up:
        os.kill(up.page_pid(), signal.SIGKILL)
        _until(lambda: "the control plane has ended (exit code -9)" in up.log.read_text())
        assert ["allow", "block"] == [_call("POST", f"{up.url}/v1/check", CHECK)["decision"] for _ in range(2)]
        assert not _answers(up.page_url)


def test_the_page_ends_with_up(tmp_path: Path) -> None:
    """After SIGTERM nobody is left at its address."""
    with _running_up(tmp_path) as up:
        assert _answers(f"{up.page_url}/api/v1/session")
    assert (0, False) == (up.process.returncode, _answers(f"{up.page_url}/api/v1/session"))


def test_a_killed_up_leaves_no_page(tmp_path: Path) -> None:
    """Not even SIGKILL leaves one behind."""
    with _running_up(tmp_path) as up:
        up.process.kill()
        _until(lambda: not _answers(f"{up.page_url}/api/v1/session"))


def test_a_rule_file_is_for_the_sidecar_alone(tmp_path: Path) -> None:
    """It follows the file; the page shows the store, which has no rules, and `up` says so."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(SEED)
    with _running_up(tmp_path, f"--rules={rules}") as up:
        assert ["allow", "block"] == [_call("POST", f"{up.url}/v1/check", CHECK)["decision"] for _ in range(2)]
        assert 0 == _call("GET", f"{up.page_url}/api/v1/templates")["total"]
        assert "what the page edits is not in force here" in up.log.read_text()


def test_the_first_prices_come_from_a_file(tmp_path: Path) -> None:
    """An empty store has all known models priced from the first call on."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    body = {"user_id": "ada", "usage": {"model": "azure/gpt-4o", "input_tokens": 1000, "output_tokens": 500}}
    with running_demo(data_dir, _seed(tmp_path), 1, ROOT / "config" / "prices.json", more=PATIENT) as demo:
        assert "allow" == _call("POST", f"{demo.urls[0]}/v1/check", body)["decision"]
        assert 0.0075 == _call("GET", f"{demo.urls[0]}/v1/usage/ada")["windows"][0]["spend_usd"]
        assert "genai-prices" in _call("GET", f"{demo.page_url}/api/v1/settings")["price_version"]


def test_a_faulty_seed_stops_the_start(tmp_path: Path) -> None:
    """With every fault, and nothing is left running."""
    seed = tmp_path / "seed.yaml"
    seed.write_text("rules: [{kind: tier_template, key: free, limit_usd: -1}]")
    command = [
        sys.executable,
        "-m",
        "cli.main",
        "up",
        "--embedded",
        f"--data-dir={tmp_path / 'data'}",
        f"--seed={seed}",
    ]
    ports = ["--port=auto", "--admin-port=auto", "--control-port=auto", "--control-admin-port=auto"]
    done = subprocess.run([*command, *ports], capture_output=True, cwd=ROOT, timeout=DEADLINE_S, check=False)
    assert (1, True) == (done.returncode, b"rules[0].limit_usd: must not be negative" in done.stderr)
