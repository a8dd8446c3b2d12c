"""The OpenAPI 3.1 document of both listeners."""

from typing import Any


def openapi_document() -> dict[str, Any]:
    """Return the document."""
    return {"openapi": "3.1.0", "info": {"title": "Spendgate", "version": "0"}, "paths": {}}
