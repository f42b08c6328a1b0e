from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from litestar import Litestar, get, post
from litestar.params import JSONBody

from hub.errors import ConnectionLost, QueueFull
from hub.http.auth import require_credential
from hub.http.problems import EXCEPTION_HANDLERS


class Body(msgspec.Struct):
    number: int


@get("/link")
async def lose_connection() -> None:
    raise ConnectionLost("redis at somewhere", "refused")


@get("/full")
async def be_full() -> None:
    raise QueueFull("Digits", "at its maximum")


@get("/bug")
async def have_a_bug() -> None:
    raise RuntimeError("a secret detail")


@post("/body")
async def take_body(data: JSONBody[Body]) -> int:
    return data.number


@get("/guarded", guards=[require_credential(["first", "second"])])
async def guarded() -> str:
    return "in"


async def ask(method: str, path: str, **arguments: Any) -> Response:
    app = Litestar(
        [lose_connection, be_full, have_a_bug, take_body, guarded],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
    async with AsyncClient(transport=ASGITransport(cast("Any", app)), base_url="http://hub.localhost") as client:
        return await client.request(method, path, **arguments)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/link", 503, "connection_lost"),
        ("GET", "/full", 429, "queue_full"),
        ("GET", "/bug", 500, "internal_error"),
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/link", 405, "method_not_allowed"),
        ("POST", "/body", 400, "bad_request"),
        ("GET", "/guarded", 401, "unauthorized"),
    ],
)
async def test_every_error_is_a_problem_reply(method: str, path: str, status: int, code: str) -> None:
    reply = await ask(method, path)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    document = reply.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:hub:problem:{code}"
    assert document["title"]
    assert document["detail"]


async def test_a_temporary_error_has_a_retry_after() -> None:
    assert (await ask("GET", "/link")).headers["retry-after"] == "1"


async def test_the_reply_to_a_bug_has_no_details() -> None:
    assert "secret" not in (await ask("GET", "/bug")).text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer second"}, 200),
        ({"authorization": "bearer first"}, 200),
        ({"X-API-Key": "first"}, 200),
        ({"X-API-Key": "third"}, 401),
        ({"Authorization": "Basic first"}, 401),
        ({"Authorization": "Bearer"}, 401),
    ],
)
async def test_a_guard_accepts_any_known_credential_and_no_other(headers: dict[str, str], status: int) -> None:
    assert (await ask("GET", "/guarded", headers=headers)).status_code == status
