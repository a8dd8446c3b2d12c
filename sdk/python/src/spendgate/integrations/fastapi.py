"""FastAPI and Starlette: who pays is said once a request, and a refused call becomes an answer of status 402.

::

    app.add_exception_handler(LLMBudgetExceededError, budget_exceeded)

    @app.post("/ask", dependencies=[Depends(acting(lambda request: request.headers["X-User"]))])
    async def ask(question: Question): ...
"""

from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse

from spendgate.errors import LLMBudgetExceededError
from spendgate.providers.acting import Payer, acting_as

PAYMENT_REQUIRED: Final = 402
"""Not 429: clients of LLM providers repeat a request that was answered so."""


def acting(payer_of: Callable[[Request], Payer | str]) -> Callable[[Request], AsyncIterator[Payer]]:
    """Return a dependency: the wrapped clients of its requests act for whom `payer_of` names, a user id or a `Payer`.

    It holds for the path operation, awaiting or not, for its background tasks, and for what it streams.
    """

    async def dependency(request: Request) -> AsyncIterator[Payer]:
        payer = payer_of(request)
        with acting_as(payer if isinstance(payer, Payer) else Payer(user_id=payer)) as acting_payer:
            yield acting_payer

    return dependency


def budget_exceeded(_request: Request, error: Exception) -> JSONResponse:
    """Answer a refused call: status 402, with the fields of the error (`code` is ``BUDGET_EXCEEDED``)."""
    if not isinstance(error, LLMBudgetExceededError):
        raise error
    return JSONResponse(error.as_dict(), status_code=PAYMENT_REQUIRED)
