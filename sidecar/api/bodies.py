"""Bytes to values and back: JSON by default, MessagePack by Content-Type and Accept."""

from functools import lru_cache
from typing import Any, Final

import msgpack
import orjson

from ledger.errors import InvalidInput, LedgerError

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
MSGPACK_NAMES: Final = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})
JSON_NAMES: Final = frozenset({JSON, "application/*", "*/*"})
MAX_ITEMS: Final = 4096


class UnsupportedMediaType(LedgerError):
    """The body's Content-Type is none that this call reads."""

    code = "unsupported_media_type"
    status = 415


class NotAcceptable(LedgerError):
    """Accept names no format that this call answers in."""

    code = "not_acceptable"
    status = 406


def decode_body(body: bytes, content_type: str) -> Any:
    """Return the value of a body; raises `InvalidInput` for what is not JSON or MessagePack, `UnsupportedMediaType`."""
    if content_type in {JSON, "application/octet-stream", ""}:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"the body is not JSON: {error}", code="invalid_body") from None
    if content_type in MSGPACK_NAMES:
        return unpack(body)
    raise UnsupportedMediaType(f"send {JSON} or {MSGPACK}, not {content_type}")


def unpack(body: bytes) -> Any:
    """Return the value of MessagePack; raises `InvalidInput` for what is none, or holds more than may be read."""
    try:
        return msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            ext_hook=_refuse_extension,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise InvalidInput(f"the body is not MessagePack that is read here: {error}", code="invalid_body") from None


def _refuse_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


def wants_msgpack(accept: str | None, content_type: str) -> bool:
    """Say whether the answer goes out as MessagePack: asked for by Accept, else by the request's own Content-Type.

    Raises `NotAcceptable` when Accept names neither format.
    """
    if not accept or accept == "*/*":
        return content_type in MSGPACK_NAMES
    return _prefers_msgpack(accept)


@lru_cache(maxsize=256)
def _prefers_msgpack(accept: str) -> bool:
    """Weigh the two formats as RFC 9110 (12.5.1) says; JSON wins a tie."""
    weights = dict(_weighed(part) for part in accept.split(","))
    for_msgpack = max((weights[name] for name in MSGPACK_NAMES if name in weights), default=0.0)
    for_json = max((weights[name] for name in JSON_NAMES if name in weights), default=0.0)
    if for_msgpack == for_json == 0:
        raise NotAcceptable(f"answers are {JSON} or {MSGPACK}")
    return for_msgpack > for_json if JSON in weights else for_msgpack > 0


def _weighed(part: str) -> tuple[str, float]:
    name, *parameters = [piece.strip().lower() for piece in part.split(";")]
    weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 0.0


def encode_body(value: object, *, as_msgpack: bool) -> bytes:
    """Return a value as MessagePack or JSON."""
    if as_msgpack:
        packed: bytes = msgpack.packb(value)
        return packed
    return orjson.dumps(value)
