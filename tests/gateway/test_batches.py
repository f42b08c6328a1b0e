"""Batches: lines in and answers out on one connection, each as soon as it is there."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from datetime import datetime
from typing import Any

import anyio
import msgspec
import pytest
from httpx2 import Response

from hub.brokers import open_broker
from hub.ports.broker import QueueDepth
from hub.ports.result_store import Missing
from hub.submission.outcomes import SubmitResult
from hub.task import TaskRecord
from hub.types import TaskId
from tests.gateway.fakes import FaultyBroker
from tests.gateway.fixtures import CONTRACT_A, CONTRACT_DIGITS, DIGITS, MODEL_A, LocalGateway, echo_a, open_gateway
from tests.gateway.test_submit import problem
from tests.gateway.wire import Exchange, exchange, serving

BATCHES = "/v1/models/ModelA/batches"
NDJSON = {"Content-Type": "application/x-ndjson"}
CHUNKED = {**NDJSON, "Transfer-Encoding": "chunked"}


def answers(reply: Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.content.endswith(b"\n") or not reply.content
    return [msgspec.json.decode(line) for line in reply.content.splitlines()]


async def post(gateway: LocalGateway, body: bytes, **headers: str) -> list[dict[str, Any]]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return answers(await gateway.client.post(BATCHES, content=body, headers={**NDJSON, **given}))


async def records(gateway: LocalGateway, lines: list[dict[str, Any]]) -> list[TaskRecord]:
    found = await gateway.store.fetch([line["id"] for line in lines])
    assert all(isinstance(record, TaskRecord) for record in found), found
    return [record for record in found if isinstance(record, TaskRecord)]


async def test_each_line_is_a_task_and_is_answered_in_order(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)

    lines = await post(gateway, b"".join(b'{"messages": "%d"}\n' % number for number in range(1000)))

    assert [line["index"] for line in lines] == list(range(1000))
    assert {line["state"] for line in lines} == {"queued"}
    last = await gateway.client.get(f"/v1/tasks/{lines[-1]['id']}", params={"wait": 5})
    assert last.json()["result"] == {"reply": "Processed message: 999\n"}
    assert [record.id for record in await records(gateway, lines)] == [line["id"] for line in lines]


async def test_an_answer_has_the_expiry_of_the_record(gateway: LocalGateway) -> None:
    await gateway.model()
    (line,) = await post(gateway, b"{}", Hub_Result_TTL="600")
    (record,) = await records(gateway, [line])
    assert datetime.fromisoformat(line["expires_at"]).timestamp() == pytest.approx(record.created_at + 600, abs=1)
    assert line.keys() == {"index", "id", "state", "expires_at"}


async def test_an_empty_batch_has_an_empty_reply(gateway: LocalGateway) -> None:
    await gateway.model()
    assert await post(gateway, b"") == []
    assert await post(gateway, b"\n \r\n\t\n") == []


async def test_blank_lines_are_no_requests_and_do_not_count(gateway: LocalGateway) -> None:
    await gateway.model()
    lines = await post(gateway, b"\n{}\r\n\n  \n{}\n\n{}")
    assert [line["index"] for line in lines] == [0, 1, 2]
    assert all("id" in line for line in lines)


async def test_a_bad_line_is_answered_with_its_problem_and_affects_no_other(gateway: LocalGateway) -> None:
    await gateway.model(DIGITS, CONTRACT_DIGITS)
    bad = [b"{", b'{"pixels": [1, "x"], "colour": 1}', b'"\xff"']
    content = b"\n".join([b"{}", bad[0], b"{}", bad[1], bad[2], b"{}"])

    reply = await gateway.client.post("/v1/models/Digits/batches", content=content, headers=NDJSON)
    alone = [
        await gateway.client.post("/v1/models/Digits/tasks", content=line, headers={"Content-Type": "application/json"})
        for line in bad
    ]

    lines = answers(reply)
    assert ["id" in line for line in lines] == [True, False, True, False, False, True]
    assert [line["error"] for line in lines if "error" in line] == [single.json() for single in alone]
    assert {error["pointer"] for error in lines[3]["error"]["errors"]} == {"/pixels/1", "/colour"}


async def test_a_line_may_be_as_long_as_the_body_of_a_single_request_and_the_batch_of_any_length() -> None:
    with anyio.fail_after(20):
        async with open_gateway(body_limit=100) as gateway:
            await gateway.model()
            fits = b'{"messages":"%s"}' % (b"x" * 85)
            lines = await post(gateway, b"\n".join([fits, fits + b" ", fits, b"x" * 1_000_000, fits]))
            assert len(fits) == 100
            assert ["id" in line for line in lines] == [True, False, True, False, True]
            single = await gateway.client.post(
                "/v1/models/ModelA/tasks", content=fits + b" ", headers={"Content-Type": "application/json"}
            )
            for line in (lines[1], lines[3]):
                assert (line["error"]["status"], line["error"]["code"]) == problem(single) == (413, "content_too_large")


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" " * 100 + b"\n", b" "])
async def test_blank_lines_are_bounded_and_counted(blank: bytes) -> None:
    """Also those without an end."""
    async with open_gateway(body_limit=10_000) as gateway:
        await gateway.model(answer=echo_a)
        few = await post(gateway, b'{"messages": "x"}\n' + blank * (9_000 // len(blank)))
        assert [sorted(line) for line in few] == [["expires_at", "id", "index", "state"]]
        first, last = await post(gateway, b'{"messages": "x"}\n' + blank * (20_000 // len(blank)) + b"\n{}\n")
        assert first["state"] == "queued"
        assert (last["index"], last["error"]["code"], last["error"]["status"]) == (1, "content_too_large", 413)
        assert "10000 bytes" in last["error"]["detail"]
        metrics = (await gateway.client.get("/metrics")).text
        assert 'hub_submits_total{model="ModelA",result="content_too_large"} 1.0' in metrics


async def test_blank_lines_between_many_requests_are_accepted() -> None:
    async with open_gateway(body_limit=1_000) as gateway:
        await gateway.model(answer=echo_a)
        assert len(await post(gateway, b'{"messages": "x"}\n\n' * 2_000)) == 2_000


@pytest.mark.parametrize("media_type", [None, "", " ", ";charset=utf-8"])
async def test_a_batch_without_a_content_type_is_refused(gateway: LocalGateway, media_type: str | None) -> None:
    await gateway.model()
    headers = {} if media_type is None else {"Content-Type": media_type}
    reply = await gateway.client.post(BATCHES, content=b"{}\n", headers=headers)
    assert problem(reply) == (415, "unsupported_media_type")
    assert "application/x-ndjson" in reply.json()["detail"]


@pytest.mark.parametrize(
    "media_type", ["application/x-ndjson; charset=UTF-8", "application/jsonl", "Application/JSON-Lines"]
)
async def test_lines_of_json_have_several_media_types(gateway: LocalGateway, media_type: str) -> None:
    await gateway.model()
    reply = await gateway.client.post(BATCHES, content=b"{}\n", headers={"Content-Type": media_type})
    (line,) = answers(reply)
    assert "id" in line


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/*", "application/jsonl", "application/x-ndjson, application/jsonl;q=0", "*/*;q=0.1, a/b"],
)
async def test_every_media_type_of_lines_of_json_is_accepted_for_the_reply(gateway: LocalGateway, accept: str) -> None:
    await gateway.model()
    (line,) = await post(gateway, b"{}\n", Accept=accept)
    assert "id" in line


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/v1/models/Unknown/batches", {}, (404, "unknown_model")),
        (BATCHES, {"Content-Type": "application/json"}, (415, "unsupported_media_type")),
        (BATCHES, {"Content-Type": "application/x-ndjson; charset=latin-1"}, (415, "unsupported_media_type")),
        (BATCHES, {"Accept": "application/json"}, (406, "not_acceptable")),
        (BATCHES, {"Accept": "application/x-ndjson;q=0, */*"}, (406, "not_acceptable")),
        (BATCHES, {"Hub-Timeout": "soon"}, (400, "bad_parameter")),
        (BATCHES, {"Hub-Result-TTL": "1"}, (400, "bad_parameter")),
        (BATCHES, {"Idempotency-Key": "two words"}, (400, "bad_parameter")),
    ],
)
async def test_an_error_of_the_whole_batch_is_a_problem_reply(
    gateway: LocalGateway, path: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    await gateway.model()
    assert problem(await gateway.client.post(path, content=b"{}\n", headers={**NDJSON, **headers})) == expected


async def test_a_batch_for_a_model_that_is_not_alive_is_refused(gateway: LocalGateway) -> None:
    await gateway.model(live=0)
    assert problem(await gateway.client.post(BATCHES, content=b"{}\n", headers=NDJSON)) == (503, "model_unavailable")


async def test_a_batch_needs_the_key_of_a_client() -> None:
    with anyio.fail_after(10):
        async with open_gateway(api_keys="secret") as gateway:
            await gateway.model()
            assert problem(await gateway.client.post(BATCHES, content=b"{}", headers=NDJSON)) == (401, "unauthorized")
            (line,) = await post(gateway, b"{}", X_API_Key="secret")
            assert "id" in line


async def test_the_headers_of_a_batch_apply_to_each_line(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    lines = await post(gateway, b"{}\n{}\n", Hub_Timeout="30", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    for record in await records(gateway, lines):
        assert record.deadline == pytest.approx(record.created_at + 30, abs=0.001)
    for line in lines:
        await gateway.client.get(f"/v1/tasks/{line['id']}", params={"wait": 5})
    assert [task.traceparent[3:35] for task in gateway.received] == ["a" * 32] * 2


async def test_a_key_makes_one_task_of_each_line_however_often_the_batch_is_sent(gateway: LocalGateway) -> None:
    await gateway.model()
    content = b'{"messages":"a"}\n{"messages":"b"}\n'

    first = await post(gateway, content, Idempotency_Key="k")
    longer = await post(gateway, content + b'{"messages":"c"}\n', Idempotency_Key="k")
    other = await post(gateway, content, Idempotency_Key="l")
    changed = await post(gateway, b'{"messages":"a"}\n{"messages":"B"}\n', Idempotency_Key="k")

    assert [line["id"] for line in longer[:2]] == [line["id"] for line in first]
    assert [line.get("replayed", False) for line in (*first, *longer)] == [False, False, True, True, False]
    assert not {line["id"] for line in other} & {line["id"] for line in longer}
    assert changed[0]["id"] == first[0]["id"]
    assert changed[1]["error"]["status"] == 409


async def test_lines_are_refused_while_the_model_is_gone_and_accepted_when_it_is_back(gateway: LocalGateway) -> None:
    await gateway.model()
    async with serving(gateway) as url, exchange(url, "POST", BATCHES, CHUNKED) as batch:
        codes: list[str] = []
        await batch.write(b"{}\n")
        await batch.head()
        for live in (0, 1):
            codes.append((await batch.answer()).get("error", {}).get("code", "accepted"))
            await gateway.list_model(MODEL_A, CONTRACT_A, live=live)
            await batch.write(b"{}\n")
        codes.append((await batch.answer()).get("error", {}).get("code", "accepted"))
    assert codes == ["accepted", "model_unavailable", "accepted"]


async def test_a_bug_affects_one_line_and_shows_no_secrets(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gateway.model()
    submit = gateway.parts.tasks.submit

    async def broken(model: Any, fingerprint: Any, body: bytes, *rest: Any, **options: Any) -> SubmitResult:
        if body:
            raise RuntimeError("the password is swordfish")
        return await submit(model, fingerprint, body, *rest, **options)

    monkeypatch.setattr(gateway.parts.tasks, "submit", broken)
    lines = await post(gateway, b'{}\n{"messages":"x"}\n{}\n')
    assert ["id" in line for line in lines] == [True, False, True]
    assert (lines[1]["error"]["status"], lines[1]["error"]["code"]) == (500, "internal_error")
    assert "swordfish" not in str(lines)


# --- over sockets ------------------------------------------------------------------------------------------------------


async def test_lines_are_answered_while_the_batch_still_arrives(gateway: LocalGateway) -> None:
    await gateway.model()
    async with serving(gateway) as url, exchange(url, "POST", BATCHES, CHUNKED) as batch:
        await batch.write(b'{}\n{"messages": "half')
        assert await batch.head() == 200
        assert (await batch.answer())["index"] == 0
        await batch.write(b' and half"}\n{}')
        assert (await batch.answer())["index"] == 1
        await batch.end()
        assert [line["index"] for line in await batch.answers()] == [2]


async def test_a_client_that_expects_100_continue_gets_it(gateway: LocalGateway) -> None:
    await gateway.model()
    async with (
        serving(gateway) as url,
        exchange(url, "POST", BATCHES, {**CHUNKED, "Expect": "100-continue"}) as batch,
    ):
        await batch.told_to_go_on()
        await batch.write(b"{}\n")
        assert await batch.head() == 200
        await batch.end()
        assert [line["index"] for line in await batch.answers()] == [0]


async def test_lines_that_were_answered_before_a_disconnect_are_accepted_and_no_others() -> None:
    with anyio.fail_after(30):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            published: list[TaskId] = []
            broker.refusal = lambda publication: published.append(TaskId(publication.message_id))
            async with open_gateway(broker=broker) as gateway:
                await gateway.model()
                async with serving(gateway) as url:
                    async with exchange(url, "POST", BATCHES, CHUNKED) as batch:
                        await batch.write(b"{}\n" * 100)
                        await batch.head()
                        answered = {(await batch.answer())["id"] for _ in range(100)}
                        broker.stuck, broker.publishing = anyio.Event(), anyio.Event()
                        await batch.write(b"{}\n" * 100)
                        await broker.publishing.wait()
                    while gateway.parts.polls.waiting:
                        await anyio.lowlevel.checkpoint()
                broker.stuck.set()
                # What was under way may be on the queue, since the broker had it already, but no instance starts it.
                while len(published) == 100 or gateway.parts.tasks.publisher.statistics().failed:
                    await anyio.lowlevel.checkpoint()
                await gateway.model(answer=echo_a)
                while (await gateway.broker.depths([MODEL_A]))[MODEL_A] != QueueDepth(ready=0, consumers=1):
                    await anyio.lowlevel.checkpoint()
                found = dict(zip(published, await gateway.store.fetch(published), strict=True))
    assert answered < found.keys()
    assert {found[TaskId(task)] for task in found.keys() - answered} == {Missing.UNKNOWN}
    assert all(isinstance(found[TaskId(task)], TaskRecord) for task in answered)


async def test_a_draining_server_ends_a_batch_with_the_index_where_it_stopped(gateway: LocalGateway) -> None:
    await gateway.model()
    rest: list[dict[str, Any]] = []

    async def read(batch: Exchange) -> None:
        rest.append(await batch.answer())
        await batch.end()
        rest.extend(await batch.answers())

    async with AsyncExitStack() as clients, anyio.create_task_group() as tg:
        async with serving(gateway, grace=20) as url:
            batch = await clients.enter_async_context(exchange(url, "POST", BATCHES, CHUNKED))
            await batch.write(b"{}\n{}\n{")
            await batch.head()
            assert [(await batch.answer())["index"] for _ in range(2)] == [0, 1]
            tg.start_soon(read, batch)
    assert [(line["index"], line["error"]["code"]) for line in rest] == [(2, "batch_interrupted")]
    assert rest[0]["error"]["retry_after"] >= 1


async def test_a_client_that_writes_during_the_drain_still_reads_the_last_answer(
    gateway: LocalGateway,
) -> None:
    await gateway.model()
    indexes: list[int] = []
    async with AsyncExitStack() as clients, anyio.create_task_group() as tg:
        async with serving(gateway, grace=20) as url:
            batch = await clients.enter_async_context(exchange(url, "POST", BATCHES, CHUNKED))

            async def write() -> None:
                with suppress(anyio.BrokenResourceError):
                    while True:
                        await batch.write(b"{}\n" * 1000)

            async def read() -> None:
                cut = False
                while not cut:
                    line = await batch.answer()
                    indexes.append(line["index"])
                    cut = "error" in line
                    begun.set()
                tg.cancel_scope.cancel()

            begun = anyio.Event()
            tg.start_soon(write)
            await batch.head()
            tg.start_soon(read)
            await begun.wait()
    assert indexes == list(range(len(indexes)))
    assert tg.cancel_scope.cancel_called
