"""Handlers of the rule set: what is in force, and pushing a whole new one."""

import asyncio
from itertools import islice
from typing import Final

import orjson
from aiohttp import web

from ledger.errors import InvalidInput, LedgerError
from ledger.rule_parsing import dump_rules, dump_settings
from sidecar.api.access import check_token
from sidecar.api.bodies import JSON, MSGPACK_NAMES, UnsupportedMediaType
from sidecar.api.decisions import answers_msgpack, respond
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache
from sidecar.rule_loading import UNSTATED_REVISION, DocumentFormat, load_rule_set

RULES_A_CHUNK: Final = 200
YAML_NAMES: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})


class PushForbidden(LedgerError):
    """No token for pushes is configured, so nobody may push."""

    code = "push_disabled"
    status = 403


class RulesFromFile(LedgerError):
    """The rules come from a file; a push would be undone by it."""

    code = "rules_from_file"
    status = 409


class RulesFromStore(LedgerError):
    """The rules come from the store; a push would be undone by the next change there."""

    code = "rules_from_store"
    status = 409


class RuleHandlers:
    """`push_token` None forbids pushes; so does every source of rules but `push`."""

    def __init__(
        self, rules: RuleCache, metrics: Metrics, *, push_token: str | None, source: str, max_bytes: int
    ) -> None:
        self._rules = rules
        self._metrics = metrics
        self._push_token = push_token
        self._source = source
        self._max_bytes = max_bytes

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/v1/rules", self.get), web.put("/v1/rules", self.put)]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Stream the rule set in force as JSON, a few rules a turn of the loop; the revision is the ETag."""
        rule_set = self._rules.current
        response = web.StreamResponse(headers={"Content-Type": JSON, "ETag": f'"{rule_set.revision}"'})
        await response.prepare(request)
        await response.write(orjson.dumps(dump_settings(rule_set))[:-1] + b',"rules":[')
        documents, separator = dump_rules(rule_set), b""
        while few := list(islice(documents, RULES_A_CHUNK)):
            await response.write(separator + orjson.dumps(few)[1:-1])
            separator = b","
            await asyncio.sleep(0)
        await response.write_eof(b"]}")
        return response

    async def put(self, request: web.Request) -> web.Response:
        """Put a pushed rule set in force; it must state a newer revision. Refused as a whole, every fault listed."""
        if self._push_token is None:
            raise PushForbidden("set SPENDGATE_PUSH_TOKEN or SPENDGATE_PUSH_TOKEN_FILE to allow pushes")
        check_token(request, self._push_token)
        if self._source == "file":
            raise RulesFromFile("this sidecar follows a rule file; change the file")
        if self._source == "store":
            raise RulesFromStore("this sidecar follows the control plane; change the rules there")
        answers_msgpack(request)
        document_format = _format_of(request.content_type)
        body = await self._read(request)
        try:
            rule_set = await load_rule_set(body, document_format)
            if rule_set.revision == UNSTATED_REVISION:
                raise InvalidInput("revision is required in a pushed rule set", field="revision")
            changed = await self._rules.swap(rule_set)
        except LedgerError:
            self._metrics.record_rules_rejected()
            raise
        return respond(request, {"revision": rule_set.revision, "rules": rule_set.count, "changed": changed})

    async def _read(self, request: web.Request) -> bytes:
        """Read a body that may be larger than a decision's, up to its own bound."""
        chunks, size = [], 0
        async for chunk in request.content.iter_chunked(2**16):
            size += len(chunk)
            if size > self._max_bytes:
                raise web.HTTPRequestEntityTooLarge(max_size=self._max_bytes, actual_size=size)
            chunks.append(chunk)
        return b"".join(chunks)


def _format_of(content_type: str) -> DocumentFormat:
    if content_type in YAML_NAMES:
        return DocumentFormat.YAML
    if content_type in MSGPACK_NAMES:
        return DocumentFormat.MSGPACK
    if content_type in {JSON, "application/octet-stream"}:
        return DocumentFormat.JSON
    raise UnsupportedMediaType(f"send {JSON}, application/yaml or application/msgpack, not {content_type}")
