"""JSON Schema 2020-12 for the API documents: the words in which they are built, and what every API shares."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from ledger.money import CAP_NANOS, NANOS_PER_USD
from ledger.names import MAX_NAME_LENGTH

Schema = dict[str, Any]

USD_PATTERN: Final = r"^([0-7]?[0-9]{1,6}(\.[0-9]{1,9})?|8000000(\.0{1,9})?)$"
MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NULL: Final[Schema] = {"type": "null"}
UNPRINTABLE: Final = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb"
)
"""What `str.isprintable` refuses among the assigned characters of Unicode's first plane, as part of a pattern."""
PRINTABLE_PATTERN: Final = f"^[^{UNPRINTABLE}]+$"
USER_ID: Final[Schema] = {
    "description": "Printable characters, compared exactly.",
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_NAME_LENGTH,
    "pattern": PRINTABLE_PATTERN,
}
TIER: Final[Schema] = {**USER_ID, "not": {"const": "*"}}


def ref(name: str) -> Schema:
    """Return the reference to a schema of this document."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(properties: dict[str, Schema], *, optional: Iterable[str] = ()) -> Schema:
    """Return the schema of an object that has exactly these properties, all required but the optional ones."""
    absent = frozenset(optional)
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in absent],
        "additionalProperties": False,
    }


def one_of(words: type[StrEnum]) -> Schema:
    """Return the schema of an enum's words."""
    return {"type": "string", "enum": [str(word) for word in words]}


def nullable(schema: Schema) -> Schema:
    """Return a schema that also admits null."""
    return {"anyOf": [schema, NULL]}


def list_of(schema: Schema, *, at_most: int | None = None) -> Schema:
    """Return the schema of a list."""
    bound = {} if at_most is None else {"maxItems": at_most}
    return {"type": "array", "items": schema, **bound}


def usd_amount() -> Schema:
    """Return the schema of an amount that callers send."""
    return {
        "description": "USD, at most 9 decimals; a number, or a decimal string where numbers lose digits.",
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": CAP_NANOS // NANOS_PER_USD},
            {"type": "string", "pattern": USD_PATTERN},
        ],
    }


def told_policy(amount_field: str) -> Schema:
    """Return the schema of a policy as it is told: in the words of a rule file, its amount as a number."""
    return {"anyOf": [{"enum": ["deny", "allow"]}, closed({amount_field: ref("UsdNumber")})]}


def usd_number() -> Schema:
    """Return the schema of an amount that is answered."""
    return {
        "description": "USD; a number that reads back to the same nano-USD, a decimal string beyond 8,000,000 USD.",
        "type": ["number", "string"],
    }


def problem() -> Schema:
    """Return the schema of a problem document (RFC 9457)."""
    fault = closed({"path": {"type": "string"}, "message": {"type": "string"}})
    return closed(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
            "field": {"type": "string"},
            "faults": list_of(fault),
        },
        optional=["field", "faults"],
    )
