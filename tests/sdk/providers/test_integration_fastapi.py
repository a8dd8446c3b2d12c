"""A FastAPI app: who pays is said by a dependency, and a refused call is an answer of status 402."""

import asyncio
from typing import Any

import httpx2
import openai
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from spendgate import LLMBudgetExceededError
from spendgate.integrations.fastapi import acting, budget_exceeded
from spendgate.providers import Payer, wrap

from tests.sdk.providers.test_calls import COST
from tests.support.fake_provider import FakeProvider
from tests.support.provider_apps import CHAT, App


def _payer(request: Request) -> Payer:
    return Payer(user_id=request.headers["X-User"], tier=request.headers.get("X-Tier"))


def _service(app: App) -> FastAPI:
    service = FastAPI(dependencies=[Depends(acting(_payer))])
    service.add_exception_handler(LLMBudgetExceededError, budget_exceeded)
    client: Any = wrap(app.bare_openai, app.gate)

    if app.awaits:

        @service.get("/ask")
        async def ask(max_tokens: int = 10) -> str:
            answer = await client.chat.completions.create(**CHAT | {"max_tokens": max_tokens})
            return str(answer.choices[0].message.content)

        @service.get("/stream")
        async def stream() -> StreamingResponse:
            async def words() -> Any:
                async for chunk in await client.chat.completions.create(**CHAT, stream=True):
                    yield chunk.choices[0].delta.content or ""

            return StreamingResponse(words())
    else:

        @service.get("/ask")
        def ask_blocking(max_tokens: int = 10) -> str:
            answer = client.chat.completions.create(**CHAT | {"max_tokens": max_tokens})
            return str(answer.choices[0].message.content)

        @service.get("/stream")
        def stream_blocking() -> StreamingResponse:
            chunks: openai.Stream[Any] = client.chat.completions.create(**CHAT, stream=True)
            return StreamingResponse(chunk.choices[0].delta.content or "" for chunk in chunks)

    return service


async def _get(app: App, path: str, user: str, **headers: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=_service(app))
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as browser:
        return await browser.get(path, headers={"X-User": user, **headers})


def _request(app: App, path: str, user: str, **headers: str) -> httpx2.Response:
    request = _get(app, path, user, **headers)
    answer: httpx2.Response = app.do(request) if app.awaits else asyncio.run(request)
    return answer


@pytest.mark.parametrize("path", ["/ask", "/stream"])
def test_the_user_of_a_request_pays_for_its_calls(app: App, provider: FakeProvider, user: str, path: str) -> None:
    """Also for those of a stream that goes on after the handler returned."""
    answer = _request(app, path, user)

    assert "".join(provider.answers.words) in answer.text
    assert (200, COST) == (answer.status_code, app.spent(user))


def test_a_refused_call_is_an_answer(app: App, provider: FakeProvider, user: str) -> None:
    """It says what a person needs to know: the limit, and when it is whole again."""
    answer = _request(app, "/ask?max_tokens=200", user, **{"X-Tier": "tight"})

    assert (402, "BUDGET_EXCEEDED", user) == (answer.status_code, answer.json()["code"], answer.json()["user_id"])
    assert answer.json()["resets_at"] is not None
    assert [] == provider.seen
