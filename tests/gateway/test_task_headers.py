"""Every reply about an accepted task names it, whatever the state of the task, the store or the reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from httpx2 import Response

from examples.model_a.v1 import model_a_pb2
from hub.contract import Contract
from hub.errors import HubError, Undecodable
from hub.gateway.models.codec import Codec
from hub.stores import open_store
from hub.stores.options import StoreOptions
from hub.task import Failure, Outcome
from hub.types import ModelName, TaskId, TaskState, new_task_id, parse_task_id
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import LocalGateway, echo_a, open_gateway
from tests.gateway.test_events import events
from tests.gateway.test_submit import TASKS
from tests.gateway.wire import serving
from tests.model.process_models import nested

CALL = "/v1/models/ModelA"
WAIT = {"Prefer": "wait=5"}
ODD = ModelName("Odd")
REQUEST = model_a_pb2.ModelARequest.DESCRIPTOR


def named(reply: Response, task: str) -> None:
    """The reply names the task in each way that it can."""
    assert reply.headers.get_list("hub-task") == [task]
    assert reply.headers.get_list("location") == [f"/v1/tasks/{task}"]
    assert not reply.headers.get("content-type", "").startswith("text/plain")
    if reply.headers.get("content-type") == "application/problem+json" and reply.content:
        assert reply.json()["task"] == task


def nameless(reply: Response) -> None:
    assert "hub-task" not in reply.headers
    assert "location" not in reply.headers
    assert "task" not in reply.json()


def failing(code: str) -> Callable[[bytes], Failure]:
    return lambda _: Failure(code=code, message="no")


async def looks(gateway: LocalGateway, task: str) -> Sequence[Response]:
    """The replies to all that can be asked about a task."""
    url = f"/v1/tasks/{task}"
    replies = [
        await gateway.client.get(url),
        await gateway.client.head(url),
        await gateway.client.get(f"{url}?wait=1"),
        await gateway.client.get(f"{url}/result"),
        await gateway.client.get(f"{url}/result", headers={"Accept": "application/x-protobuf"}),
        await gateway.client.head(f"{url}/result"),
        await gateway.client.delete(url),
    ]
    etag = replies[0].headers.get("etag")
    if etag is not None:
        replies.append(await gateway.client.get(url, headers={"If-None-Match": etag}))
    return replies


@pytest.mark.parametrize("answer", [echo_a, failing("model_error"), failing("unreadable_response")])
async def test_replies_about_a_task_that_has_ended(gateway: LocalGateway, answer: Callable[[bytes], Any]) -> None:
    await gateway.model(answer=answer)
    replies = [
        await gateway.client.post(CALL, json={}),
        await gateway.client.post(TASKS, json={}, headers=WAIT),
    ]
    for reply, task in zip(replies, gateway.received, strict=True):
        named(reply, task.id)
    await gateway.client.get(f"/v1/tasks/{gateway.received[0].id}", params={"wait": 5})
    for reply in await looks(gateway, gateway.received[0].id):
        named(reply, gateway.received[0].id)


async def test_replies_about_a_task_that_waits_and_is_cancelled(gateway: LocalGateway) -> None:
    await gateway.model()
    accepted = await gateway.client.post(TASKS, json={})
    task = accepted.json()["id"]
    named(accepted, task)
    unwaited = await gateway.client.post(TASKS, json={}, headers={"Prefer": "wait=0"})
    named(unwaited, unwaited.json()["id"])
    timeout = await gateway.client.post(CALL, json={}, headers={"Prefer": "wait=0"})
    assert timeout.status_code == 504
    named(timeout, timeout.json()["task"])
    for reply in await looks(gateway, task):
        named(reply, task)
    cancelled = await gateway.client.get(f"/v1/tasks/{task}/result")
    assert cancelled.json()["code"] == "task_cancelled"
    named(cancelled, task)


async def test_replies_about_a_task_that_has_expired(gateway: LocalGateway) -> None:
    await gateway.model()
    reply = await gateway.client.post(CALL, json={}, headers={"Hub-Timeout": "0.01"})
    assert (reply.status_code, reply.json()["code"]) == (504, "task_expired")
    named(reply, reply.json()["task"])


async def test_replies_about_a_key_that_stands_for_a_task(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    key = {"Idempotency-Key": "k"}
    first = await gateway.client.post(TASKS, json={}, headers=key)
    task = first.json()["id"]
    named(await gateway.client.post(TASKS, json={}, headers=key), task)
    conflict = await gateway.client.post(TASKS, json={"messages": "other"}, headers=key)
    assert conflict.status_code == 409
    named(conflict, task)


async def test_replies_about_a_task_that_is_gone() -> None:
    now = [1_000_000.0]
    with anyio.fail_after(10):
        async with (
            open_store("memory://", StoreOptions(clock=lambda: now[0])) as store,
            open_gateway(store=store) as gateway,
        ):
            await gateway.model(answer=echo_a)
            task = (await gateway.client.post(TASKS, json={}, headers=WAIT)).json()["id"]
            now[0] += 24 * 3600 + 1
            reply = await gateway.client.get(f"/v1/tasks/{task}")
            assert reply.status_code == 410
            named(reply, task)


@pytest.mark.parametrize("task", ["nonsense", str(new_task_id())], ids=["nonsense", "fresh"])
async def test_an_unknown_task_is_not_named(gateway: LocalGateway, task: str) -> None:
    for reply in (await gateway.client.get(f"/v1/tasks/{task}"), await gateway.client.delete(f"/v1/tasks/{task}")):
        assert reply.status_code == 404
        nameless(reply)


async def test_a_task_that_was_not_accepted_is_not_named(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    for reply in (
        await gateway.client.post(TASKS, content=b"{"),
        await gateway.client.post(CALL, json={"nothing": 1}),
        await gateway.client.post("/v1/models/Unknown", json={}),
    ):
        nameless(reply)


@pytest.mark.parametrize("error", [LOST, Undecodable("task record", "it has no state")])
async def test_a_store_that_fails_after_a_task_was_accepted(error: HubError) -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                store.changed_error = error
                submitted = await gateway.client.post(TASKS, json={}, headers={"Prefer": "wait=1"})
                called = await gateway.client.post(CALL, json={}, headers={"Prefer": "wait=1"})
                assert (submitted.status_code, called.status_code) == (202, 504)
                named(submitted, submitted.json()["id"])
                named(called, called.json()["task"])
                held = await gateway.client.get(f"/v1/tasks/{submitted.json()['id']}?wait=1")
                assert held.status_code == (200 if error is LOST else 502), "it can be read, only not watched"
                named(held, submitted.json()["id"])


async def test_a_bug_after_a_task_was_accepted(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await gateway.model(answer=echo_a)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(gateway.parts.tasks, "wait", broken)
    reply = await gateway.client.post(CALL, json={})
    assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
    named(reply, reply.json()["task"])
    assert parse_task_id(reply.json()["task"]) is not None


@dataclass(frozen=True)
class Odd:
    """A stored response that cannot be shown as JSON."""

    response: Any
    body: bytes
    code: str


def any_without_end() -> bytes:
    message = AnyMessage()
    for _ in range(3000):
        outer = AnyMessage()
        outer.Pack(message)
        message = outer
    return message.SerializeToString()


ODDITIES = [
    pytest.param(Odd(Struct, nested(150).SerializeToString(), "undecodable"), id="too deep"),
    pytest.param(
        Odd(Timestamp, Timestamp(seconds=10**15).SerializeToString(), "not_json_representable"), id="no JSON form"
    ),
    pytest.param(Odd(Struct, b"\xff\xff", "undecodable"), id="other bytes"),
    pytest.param(Odd(AnyMessage, any_without_end(), "not_json_representable"), id="Any without end"),
]


@pytest.mark.parametrize("odd", ODDITIES)
async def test_a_response_that_cannot_be_decoded_is_no_error_of_a_read(gateway: LocalGateway, odd: Odd) -> None:
    await gateway.model(ODD, Contract.from_descriptors(REQUEST, odd.response.DESCRIPTOR), answer=lambda _: odd.body)

    called = await gateway.client.post("/v1/models/Odd", json={})
    waited = await gateway.client.post("/v1/models/Odd/tasks", json={}, headers=WAIT)
    task = gateway.received[1].id
    shown = await gateway.client.get(f"/v1/tasks/{task}")
    result = await gateway.client.get(f"/v1/tasks/{task}/result")
    raw = await gateway.client.get(f"/v1/tasks/{task}/result", headers={"Accept": "application/x-protobuf"})

    assert (called.status_code, called.json()["code"]) == (502, odd.code)
    named(called, gateway.received[0].id)
    for reply in (waited, shown):
        assert reply.status_code == 200
        assert reply.json()["state"] == "succeeded"
        assert "result" not in reply.json()
        assert reply.json()["result_error"]["code"] == odd.code
        assert reply.json()["result_error"]["message"]
        named(reply, task)
    assert (result.status_code, result.json()["code"]) == (502, odd.code)
    named(result, task)
    assert (raw.status_code, raw.content) == (200, odd.body)


@pytest.mark.parametrize("odd", ODDITIES)
async def test_its_events_end_with_the_task(gateway: LocalGateway, odd: Odd) -> None:
    await gateway.model(ODD, Contract.from_descriptors(REQUEST, odd.response.DESCRIPTOR), answer=lambda _: odd.body)
    async with serving(gateway) as url:
        task = (await gateway.client.post("/v1/models/Odd/tasks", json={}, headers=WAIT)).headers["location"]
        async with events(url, task) as stream:
            assert f"/v1/tasks/{stream.reply.headers['hub-task']}" == task
            event = await stream.next()
            assert event is not None
            assert (event.name, event.data["state"]) == ("task", "succeeded")
            assert event.data["result_error"]["code"] == odd.code
            assert await stream.next() is None


async def test_a_bug_in_decoding_a_response_is_no_error_of_a_read(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gateway.model(answer=echo_a)

    async def broken(_self: Codec, _body: bytes) -> bytes:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Codec, "response_to_json", broken)
    reply = await gateway.client.post(TASKS, json={}, headers=WAIT)
    assert reply.status_code == 200
    assert reply.json()["result_error"]["code"] == "internal_error"


@pytest.mark.parametrize("at", [-1e15, 1e15, float("inf")])
async def test_dates_that_cannot_be_written_are_no_error_of_a_read(gateway: LocalGateway, at: float) -> None:
    await gateway.model()
    task = (await gateway.client.post(TASKS, json={})).json()["id"]
    outcome = Outcome(task_id=TaskId(task), state=TaskState.SUCCEEDED, body=b"", started_at=at, finished_at=at)
    await gateway.store.finish([outcome])
    reply = await gateway.client.get(f"/v1/tasks/{task}")
    assert reply.json()["finished_at"] == ("0001-01-01T00:00:00Z" if at < 0 else "9999-12-31T23:59:59Z")


async def test_one_record_that_cannot_be_decoded_does_not_affect_concurrent_reads() -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                tasks = [(await gateway.client.post(TASKS, json={})).json()["id"] for _ in range(5)]
                store.unreadable = TaskId(tasks[2])
                codes: dict[str, int] = {}

                async def look(task: str) -> None:
                    codes[task] = (await gateway.client.get(f"/v1/tasks/{task}")).status_code

                async with anyio.create_task_group() as tg:
                    for task in tasks:
                        tg.start_soon(look, task)
                assert [codes[task] for task in tasks] == [200, 200, 502, 200, 200]
