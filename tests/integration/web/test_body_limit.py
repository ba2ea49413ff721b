"""No body of the API is read without an end, whoever sends it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from services.web.body_limit import MAX_API_BODY, BodyLimit
from services.web.problems import install_problems


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that takes a JSON body and answers with how many numbers it holds."""
    app = FastAPI()
    install_problems(app, lambda: "a-request-id")

    @app.post("/v1/things")
    async def count(body: list[int]) -> JSONResponse:
        return JSONResponse(len(body))

    transport = httpx.ASGITransport(BodyLimit(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://parcours.test") as client:
        yield client


class Pieces:
    """A body that is sent in pieces, without a length, and how many of them were taken."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"[0"
        for _ in range(self.pieces):
            self.taken += 1
            yield b",1" * 32_768
        yield b"]"


def is_refusal(answer: httpx.Response) -> bool:
    """Whether this is the problem of a body that is too large."""
    assert answer.headers["content-type"] == "application/problem+json"
    return (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_body_at_the_limit_is_read(client: httpx.AsyncClient) -> None:
    body = b"[" + b" " * (MAX_API_BODY - 3) + b"1]"
    answer = await client.post("/v1/things", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (200, 1)


async def test_a_body_that_says_it_is_larger_is_refused_unread(client: httpx.AsyncClient) -> None:
    body = Pieces(100)
    headers = {"Content-Type": "application/json", "Content-Length": str(MAX_API_BODY + 1)}
    assert is_refusal(await client.post("/v1/things", content=body, headers=headers))
    assert body.taken == 0


async def test_a_body_without_a_length_is_refused_as_soon_as_it_is_larger(client: httpx.AsyncClient) -> None:
    body = Pieces(1_000)
    answer = await client.post("/v1/things", content=body, headers={"Content-Type": "application/json"})
    assert is_refusal(answer)
    assert answer.json()["detail"] == "A body may hold 1 MiB here. Send less."
    assert body.taken * 65_536 <= MAX_API_BODY + 131_072
