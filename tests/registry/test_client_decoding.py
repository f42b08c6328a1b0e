"""The client decodes any reply of a registry, or raises an error that its description names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import msgspec
import pytest
from httpx2 import AsyncClient, MockTransport, Request, Response
from hypothesis import example, given, settings, strategies as st

from hub.errors import ConnectionLost, HubError
from hub.registry.client.client import RegistryClient
from hub.registry.client.login import LoginRequest
from hub.registry.client.schemas import CONTRACT
from hub.types import Fingerprint, InstanceId, ModelName
from tests.registry.helpers import TEXTS
from tests.support.examples import examples

CALLS: dict[str, Callable[[RegistryClient], Awaitable[object]]] = {
    "login": lambda client: client.login(
        LoginRequest(instance=InstanceId("i"), model=ModelName("M"), url="http://127.0.0.1:1", contract=TEXTS)
    ),
    "logout": lambda client: client.logout(InstanceId("i")),
    "models": lambda client: client.models(),
    "instances": lambda client: client.instances(),
    "stats": lambda client: client.stats(),
    "history": lambda client: client.history(),
    "contract": lambda client: client.contract(ModelName("M"), Fingerprint("f")),
    "schemas": lambda client: client.schemas(),
    "schema_history": lambda client: client.schema_history(ModelName("M")),
    "check": lambda client: client.check(ModelName("M"), TEXTS),
}

INSTANCE = {
    "id": "i", "model": "M", "url": "http://127.0.0.1:1", "fingerprint": "f", "state": "live", "reason": "", "misses": 0,
    "logged_in_at": 1.0, "answered_at": None,
}  # fmt: skip
MODEL = {"name": "M", "active": True, "fingerprint": "f", "request": "A", "response": "B", "instances": [INSTANCE]}
BODIES = [
    INSTANCE,
    {**INSTANCE, "accepts": ["f"]},
    {"models": [MODEL]},
    {"instances": [INSTANCE]},
    {"at": 1.0, "models": []},
    {"events": []},
    {"code": "name_taken", "model": "M", "differences": ["d"], "incumbents": ["x"]},
    {"code": "unknown_model", "detail": "x"},
    {"compatible": True, "differences": []},
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["\x00", "x" * 5000, "../..", "live"])
)
documents = st.recursive(
    scalars, lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=6), of, max_size=3), max_leaves=8
)


@st.composite
def changed_bodies(draw: st.DrawFn) -> bytes:
    """A body of the registry in which values are replaced and left out, and bytes changed."""

    def change(value: object) -> object:
        if draw(st.integers(0, 9)) == 0:
            return draw(documents)
        if isinstance(value, dict):
            return {key: change(each) for key, each in value.items() if draw(st.integers(0, 19))}
        return [change(each) for each in value] if isinstance(value, list) else value

    text = bytearray(msgspec.json.encode(change(draw(st.sampled_from(BODIES)))))
    for _ in range(draw(st.integers(0, 2))):
        if text:
            text[draw(st.integers(0, len(text) - 1))] = draw(st.integers(0, 255))
    return bytes(text)


async def answered(call: str, status: int, content: bytes, content_type: str) -> None:
    def answer(_: Request) -> Response:
        return Response(status, content=content, headers={"Content-Type": content_type})

    async with AsyncClient(transport=MockTransport(answer)) as http:
        try:
            await CALLS[call](RegistryClient("http://127.0.0.1:1", http))
        except HubError as error:
            str(error).encode()


@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=examples(150))
@given(
    status=st.sampled_from([200, 200, 200, 201, 204, 304, 301, 400, 401, 404, 409, 502, 503, 599]),
    content=changed_bodies() | st.binary(max_size=60),
    content_type=st.sampled_from([CONTRACT, "application/json", "text/html"]),
)
@example(status=200, content=b"[" * 100_000, content_type=CONTRACT)
@example(status=200, content=b'{"models":' + b"[" * 100_000, content_type="application/json")
@example(status=409, content=b'{"x":' + b"[" * 100_000, content_type="application/json")
@example(status=200, content=b'{"models":[{"name":"\xff"}]}', content_type="application/json")
@example(status=200, content=b'{"at":1e400,"models":[]}', content_type="application/json")
@example(status=200, content=b'{"at":' + b"9" * 5000 + b',"models":[]}', content_type="application/json")
@example(status=409, content=b'{"code":"name_taken","detail":"\\ud800"}', content_type="application/json")
def test_any_reply_is_decoded_or_raises_an_error_of_hub(
    call: str, status: int, content: bytes, content_type: str
) -> None:
    anyio.run(answered, call, status, content, content_type)


async def test_a_reply_that_is_no_list_of_models_is_a_lost_connection() -> None:
    def answer(_: Request) -> Response:
        return Response(200, content=b'{"models":[{"name":7}]}')

    async with AsyncClient(transport=MockTransport(answer)) as http:
        with pytest.raises(ConnectionLost, match="ModelsBody"):
            await RegistryClient("http://127.0.0.1:1", http).models()
