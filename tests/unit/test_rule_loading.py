"""Documents of rules in three formats, small and large: the same rules, the same complaints."""

import json

import msgpack
import pytest

from ledger.errors import RuleSetInvalid
from ledger.rule_parsing import parse_rule_set
from sidecar import rule_loading
from sidecar.rule_loading import DocumentFormat, decode_document, load_rule_set
from tests.support.rule_sets import large_document


@pytest.mark.parametrize("count", [10, 10_000])
@pytest.mark.parametrize("document_format", list(DocumentFormat))
async def test_every_format_gives_the_same_rules(document_format: DocumentFormat, count: int) -> None:
    """JSON, YAML and MessagePack mean the same, in small documents and in large ones."""
    document = large_document(count)
    body = msgpack.packb(document) if document_format is DocumentFormat.MSGPACK else json.dumps(document).encode()

    assert parse_rule_set(document, revision=1) == await load_rule_set(body, document_format)


@pytest.mark.parametrize(
    ("document_format", "body"),
    [
        (DocumentFormat.JSON, b"{"),
        (DocumentFormat.JSON, b"\xff"),
        (DocumentFormat.JSON, b'{"rules": [], "rules": []}'),
        (DocumentFormat.JSON, b"[" * 100_000),
        (DocumentFormat.YAML, b"rules: [}"),
        (DocumentFormat.YAML, b"rules: []\nrules: []\n"),
        (DocumentFormat.YAML, b"rules: !!python/object/apply:os.getcwd []"),
        (DocumentFormat.YAML, b"a: 1\n---\na: 2\n"),
        (DocumentFormat.YAML, b"? [1]\n: 2\n"),
        (DocumentFormat.YAML, b"\xff\xfe\xff"),
        (DocumentFormat.MSGPACK, b""),
        (DocumentFormat.MSGPACK, b"\x81"),
        (DocumentFormat.MSGPACK, b"\x80\x80"),
        (DocumentFormat.MSGPACK, b"\x82\xa1a\x01\xa1a\x02"),
        (DocumentFormat.MSGPACK, b"\xc1"),
    ],
)
def test_what_is_no_document_is_refused(document_format: DocumentFormat, body: bytes) -> None:
    """Broken text and keys given twice are faults of the document."""
    with pytest.raises(RuleSetInvalid) as caught:
        decode_document(body, document_format)

    assert ["document"] == [path for path, _ in caught.value.faults]


def test_fault_of_large_yaml_is_told_as_of_small() -> None:
    """The process that reads large YAML hands its complaint back."""
    body = b"rules: []\nrules: []\n" + b"# filler\n" * (rule_loading.BULK_BYTES // 8)

    with pytest.raises(RuleSetInvalid, match="the key 'rules' is given twice"):
        decode_document(body, DocumentFormat.YAML)


def test_expiry_of_large_yaml_is_a_moment() -> None:
    """Times that YAML recognises pass on as text."""
    rule = b"rules: [{kind: user_override, key: u, limit_usd: 1, expires_at: 2026-01-01T01:00:00+01:00}]\n"
    body = rule + b"# filler\n" * (rule_loading.BULK_BYTES // 8)

    assert [1_767_225_600_000] == [
        entry.expires_at_ms for entry in rule_loading.read_rule_set(body, DocumentFormat.YAML).rules
    ]


def test_yaml_may_use_anchors_and_merges() -> None:
    """A key that overrides a merged one is not given twice."""
    body = b"base: &base {limit_usd: 1, window: day}\nrules: [{<<: *base, window: week}]\n"

    assert {
        "base": {"limit_usd": 1, "window": "day"},
        "rules": [{"limit_usd": 1, "window": "week"}],
    } == decode_document(body, DocumentFormat.YAML)
