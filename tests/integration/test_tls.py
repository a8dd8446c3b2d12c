"""TLS and ACL users: a whole sidecar over an encrypted connection with a login of its own, and what is refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from ledger.connection import StoreTimeouts, claim_partitions, connect
from ledger.errors import StoreUnavailable
from tests.conftest import server_binaries
from tests.support.apps import ask, open_session
from tests.support.books import every_window, new_workspace, read_books
from tests.support.ports import HOST, free_ports
from tests.support.processes import running_sidecar, template, write_rules
from tests.support.servers import Server, until

TIMEOUTS: Final = StoreTimeouts(connect_ms=10_000, command_ms=10_000)
NEEDED: Final = ("+@read", "+@write", "+@connection", "+@scripting", "+info", "+config|get", "+time", "+wait")
"""What the user of a sidecar and a control plane must be allowed, on keys that begin with ``sg:``."""


@dataclass(frozen=True, slots=True)
class EncryptedStore:
    """A server that speaks TLS only, asks for a certificate, and knows the user `spendgate`."""

    port: int
    authority: Path
    certificate: Path

    def url(self, *, login: str = "spendgate:s3cret", authority: Path | None = None, certified: bool = True) -> str:
        """Return the URL of a client with a login, an authority that it trusts, and its own certificate."""
        own = f"&ssl_certfile={self.certificate}&ssl_keyfile={self.certificate}" if certified else ""
        return f"rediss://{login}@{HOST}:{self.port}/0?ssl_ca_certs={authority or self.authority}{own}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncryptedStore]:
    """Run a Redis that speaks TLS; the wheel's Valkey is built without."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    for name in ("server", "client"):
        certificate = authority.issue_cert(HOST, "localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / f"{name}.pem"))
    tls_port, plain_port = free_ports(2)
    server = Server(
        server_binaries()["redis"],
        plain_port,
        directory,
        *("--tls-port", str(tls_port), "--tls-ca-cert-file", str(directory / "ca.pem")),
        *("--tls-cert-file", str(directory / "server.pem"), "--tls-key-file", str(directory / "server.pem")),
    )
    with contextlib.closing(server.client()) as client:
        server.start()
        until(client.ping, "a server")
        client.execute_command("ACL", "SETUSER", "spendgate", "on", ">s3cret", "~sg:*", *NEEDED)
        client.execute_command("ACL", "SETUSER", "default", "off")
    try:
        yield EncryptedStore(tls_port, directory / "ca.pem", directory / "client.pem")
    finally:
        server.kill()


@pytest.fixture(autouse=True)
async def _closed_connections(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Wait until each connection of the test is closed.

    redis-py does not wait for one that a server refused: it says goodbye over TLS, and a loop that ends before the
    answer leaves its socket open.
    """
    writers: list[asyncio.StreamWriter] = []
    open_connection = asyncio.open_connection

    async def open_and_remember(*args: Any, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await open_connection(*args, **options)
        writers.append(writer)
        return reader, writer

    monkeypatch.setattr(asyncio, "open_connection", open_and_remember)
    yield
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_sidecar_is_exact_over_tls_as_an_acl_user(store: EncryptedStore, tmp_path: Path) -> None:
    """Decisions, settles, rules from the store and the audit need no more than the documented permissions."""
    workspace = new_workspace()
    rules = write_rules(tmp_path / "rules.yaml", template("free", 1))
    owner = {"user_id": "ada", "request_id": "hold"}
    with running_sidecar(tmp_path, store.url(), rules, workspace=workspace) as sidecar:
        async with open_session() as session:
            checked = await ask(session, f"{sidecar.url}/v1/check", {"user_id": "ada", "tier": "free", "cost_usd": 0.5})
            held = await ask(session, f"{sidecar.url}/v1/reserve", {**owner, "tier": "free", "estimate_usd": 0.5})
            blocked = await ask(session, f"{sidecar.url}/v1/check", {"user_id": "ada", "tier": "free", "cost_usd": 0.1})
            settled = await ask(session, f"{sidecar.url}/v1/settle", {**owner, "cost_usd": 0.25})
        log = sidecar.log.read_text()
    books = await read_books(store.url(), workspace)

    answers = [checked, held, blocked, settled]
    assert [True] * 4 == [answer.is_exact for answer in answers]
    assert [True, True, False] == [answer.document["allowed"] for answer in answers[:3]]
    assert (every_window(750_000_000), []) == (books.spend("ada"), books.report.differences)
    assert "s3cret" not in log
    assert "functions" not in log


async def test_a_server_of_another_authority_is_refused(store: EncryptedStore, tmp_path: Path) -> None:
    """Whoever pretends to be the store gets no password and no command; catches verification that is off."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))

    await _refuse(store.url(authority=other))


async def test_a_client_without_a_certificate_is_refused(store: EncryptedStore) -> None:
    """The server asks for one; that ours is sent is why the others get in."""
    await _refuse(store.url(certified=False))


async def test_a_wrong_password_is_refused(store: EncryptedStore) -> None:
    """It is told as an unavailable store, with the reason."""
    await _refuse(store.url(login="spendgate:guessed"))


async def _refuse(url: str) -> None:
    client = connect(url, TIMEOUTS)
    try:
        with pytest.raises(StoreUnavailable):
            await claim_partitions(client, new_workspace(), 1)
    finally:
        await client.aclose()
