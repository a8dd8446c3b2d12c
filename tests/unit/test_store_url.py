"""URLs of stores: every way to name one, and what is refused before anything connects."""

import pytest

from ledger.setting_parsing import redact_url
from ledger.store_url import StoreKind, StoreUrl


@pytest.mark.parametrize(
    ("text", "kind", "scheme", "seeds", "service", "database"),
    [
        ("redis://127.0.0.1:6379/2", StoreKind.SINGLE, "redis", (), "", 0),
        ("rediss://ada:secret@store.example", StoreKind.SINGLE, "rediss", (), "", 0),
        ("unix:///run/s", StoreKind.SINGLE, "unix", (), "", 0),
        ("redis+cluster://n1:7001,n2", StoreKind.CLUSTER, "redis", (("n1", 7001), ("n2", 6379)), "", 0),
        ("rediss+cluster://[::1]:7001/0", StoreKind.CLUSTER, "rediss", (("::1", 7001),), "", 0),
        ("redis+sentinel://s1,s2:5000/spend", StoreKind.SENTINEL, "redis", (("s1", 26379), ("s2", 5000)), "spend", 0),
        ("rediss+sentinel://s1/spend/3", StoreKind.SENTINEL, "rediss", (("s1", 26379),), "spend", 3),
    ],
)
def test_each_way_to_name_a_store_is_understood(
    text: str, kind: StoreKind, scheme: str, seeds: object, service: str, database: int
) -> None:
    """One server, Sentinels with the primary's name, nodes of a Cluster; default ports, IPv6."""
    url = StoreUrl.parse(text)

    assert (kind, scheme, seeds, service, database) == (url.kind, url.scheme, url.seeds, url.service, url.database)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("http://n1", "must begin with one of"),
        ("redis://n1,n2", "names several hosts"),
        ("redis+cluster://", "must name 1 to 64 hosts"),
        ("redis+cluster://n1:0", "no host and port"),
        ("redis+cluster://n1:70000", "no host and port"),
        ("redis+cluster://n1/1", "a Cluster has only one"),
        ("redis+sentinel://s1", "must name the primary"),
        ("redis+sentinel://s1/spend/two", "a number as its database"),
        ("redis://n1?retry_on_timeout=true", "not known here: retry_on_timeout"),
        ("redis://n1?sentinel_password=x", "not known here: sentinel_password"),
    ],
)
def test_what_names_no_store_is_refused(text: str, fault: str) -> None:
    """The message says what is wrong; an option that would bring retries back is refused too."""
    with pytest.raises(ValueError, match=fault):
        StoreUrl.parse(text)


def test_each_server_gets_the_login_and_the_certificates() -> None:
    """Servers that are found later are reached as the first ones are, but for what concerns Sentinels."""
    url = StoreUrl.parse("rediss+sentinel://ada:p%40ss@s1/spend/3?ssl_ca_certs=/etc/ca.pem&sentinel_password=a%2Fb")

    assert "rediss://ada:p%40ss@10.0.0.1:6379/3?ssl_ca_certs=%2Fetc%2Fca.pem" == url.server_url(("10.0.0.1", 6379))
    assert "rediss://:a%2Fb@s1:26379?ssl_ca_certs=%2Fetc%2Fca.pem" == url.sentinel_url(("s1", 26379))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis+cluster://ada:secret@n1:1,n2:2", "redis+cluster://ada:***@n1:1,n2:2"),
        ("redis+sentinel://s1/spend?sentinel_password=secret", "redis+sentinel://s1/spend?sentinel_password=***"),
        ("rediss://n1?ssl_password=secret&db=1", "rediss://n1?ssl_password=***&db=1"),
    ],
)
def test_no_password_is_shown(text: str, shown: str) -> None:
    """Each place where one can stand is covered when settings are logged."""
    assert shown == redact_url(text)
