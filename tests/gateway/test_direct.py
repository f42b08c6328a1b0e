"""Routes that are called without Litestar: their replies are those of Litestar, which has the same ones at unusual paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from httpx2 import Response

from hub.gateway.tasks.submission import SubmissionService
from hub.http.middleware.direct import DirectRoute
from tests.gateway.fixtures import LocalGateway, echo_a, open_gateway

CALL, TASKS = "/v1/models/ModelA", "/v1/models/ModelA/tasks"
HI = b'{"messages":"hi"}'
JSON = {"Content-Type": "application/json"}
UNKNOWN = "/v1/tasks/00000000-0000-7000-8000-000000000000"
DEEP = b'{"messages":' + b"[" * 2000 + b"]" * 2000 + b"}"

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)")


def seen(reply: Response) -> tuple[int, Mapping[str, str], str]:
    """Everything of a reply but ids and times."""
    headers = {name: _TIME.sub("TIME", _ID.sub("ID", value)) for name, value in reply.headers.items()}
    text = _TIME.sub("TIME", _ID.sub("ID", reply.text))
    if _TIME.search(reply.text):
        headers.pop("content-length", None)  # fractions of a second have six digits or none
    return reply.status_code, headers, text


REQUESTS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "a call": ("POST", CALL, {"content": HI, "headers": JSON}),
    "a call for protobuf": ("POST", CALL, {"content": HI, "headers": {**JSON, "Accept": "application/x-protobuf"}}),
    "a call for an image": ("POST", CALL, {"content": HI, "headers": {**JSON, "Accept": "image/png"}}),
    "a call for a stream": ("POST", CALL, {"content": HI, "headers": {**JSON, "Accept": "text/event-stream"}}),
    "two values of Accept": (
        "POST",
        CALL,
        {"content": HI, "headers": [*JSON.items(), ("Accept", "a/b"), ("Accept", "*/*")]},
    ),
    "a submit": ("POST", TASKS, {"content": HI, "headers": JSON}),
    "a submit that waits": ("POST", TASKS, {"content": HI, "headers": {**JSON, "Prefer": "wait=5"}}),
    "no type": ("POST", TASKS, {"content": HI}),
    "another type": ("POST", TASKS, {"content": HI, "headers": {"Content-Type": "text/plain"}}),
    "no JSON": ("POST", CALL, {"content": b"{", "headers": JSON}),
    "another document": ("POST", CALL, {"content": b'{"messages":3}', "headers": JSON}),
    "a deep document": ("POST", CALL, {"content": DEEP, "headers": JSON}),
    "too large a body": ("POST", CALL, {"content": b" " * 100_001, "headers": JSON}),
    "no length": ("POST", CALL, {"content": HI, "headers": {**JSON, "Content-Length": "many"}}),
    "a bad timeout": ("POST", CALL, {"content": HI, "headers": {**JSON, "Hub-Timeout": "soon"}}),
    "an unknown coding": ("POST", CALL, {"content": HI, "headers": {**JSON, "Content-Encoding": "br"}}),
    "an unknown model": ("POST", "/v1/models/ModelB", {"content": HI, "headers": JSON}),
    "an unknown task": ("GET", UNKNOWN, {}),
    "what is no id": ("GET", "/v1/tasks/first", {}),
    "a task": ("GET", "/v1/tasks/{}", {}),
    "a task that waits": ("GET", "/v1/tasks/{}", {"params": {"wait": "5"}}),
    "a bad wait": ("GET", "/v1/tasks/{}", {"params": {"wait": "long"}}),
    "a known task": ("GET", "/v1/tasks/{}", {"headers": {"If-None-Match": "*"}}),
    "the head of a task": ("HEAD", "/v1/tasks/{}", {}),
    "the events of a task": ("GET", "/v1/tasks/{}", {"headers": {"Accept": "text/event-stream"}}),
    "another method": ("PUT", CALL, {}),
    "its methods": ("OPTIONS", TASKS, {}),
}


@pytest.mark.parametrize(("method", "path", "request_"), REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("credentials", [{}, {"X-API-Key": "secret"}], ids=["without a key", "with a key"])
async def test_replies_are_those_of_litestar(
    method: str, path: str, request_: dict[str, Any], credentials: dict[str, str]
) -> None:
    async with open_gateway(api_keys="secret" if credentials else "") as gateway:
        await gateway.model(answer=echo_a)
        done = await gateway.client.post(TASKS, content=HI, headers={**JSON, "Prefer": "wait=5", **credentials})
        path = path.format(done.json()["id"])
        headers = httpx2.Headers(request_.get("headers"))
        for given in ({}, credentials) if credentials else ({},):
            asked = {**request_, "headers": [*headers.multi_items(), *given.items()]}

            direct = await gateway.client.request(method, path, **asked)
            through_litestar = await gateway.client.request(method, f"{path}/", **asked)

            assert seen(direct) == seen(through_litestar)
            guarded = (
                credentials and not given and method not in {"OPTIONS", "PUT"} and "content-encoding" not in headers
            )
            assert (direct.status_code == 401) == bool(guarded)


async def test_a_bug_in_such_a_route_is_a_500_that_says_so(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: SubmissionService, _name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(SubmissionService, "find_model", broken)

    direct, through_litestar = [
        await gateway.client.post(path, content=HI, headers=JSON) for path in (CALL, f"{CALL}/")
    ]

    assert direct.status_code == 500
    assert seen(direct) == seen(through_litestar)


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/models/A/tasks", "A"),
        ("/v1/models/tasks", ""),
        ("/v1/models//tasks", ""),
        ("/v1/models/A", ""),
        ("/v1/models/A/B/tasks", ""),
        ("/v1/models/A/tasks/", ""),
        ("/v2/models/A/tasks", ""),
    ],
)
def test_a_direct_route_takes_the_plain_form_of_its_path_only(path: str, parameter: str) -> None:
    async def never(*_: object) -> Any:
        raise AssertionError

    route = DirectRoute(method="POST", before="/v1/models/", after="/tasks", handler=never)

    assert route.parameter(path) == parameter
